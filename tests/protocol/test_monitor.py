"""What real sagas leave in the tables is a trace of the protocol."""

from __future__ import annotations

import pytest

from counteract.store import ANY, PostgresEventStore
from counteract.testing.protocol import Trace, traces, violations
from tests.protocol.runs import Town
from tests.protocol.stage import Stage, ending
from tests.travel.bank import Authorize, CardCompany, Deposited, HoldMoney, PayBack, PayHeldMoney, accounts

pytestmark = pytest.mark.integration

_WITHOUT = "create or replace function enter_step(p_step jsonb) returns boolean language sql as 'select true'"


async def _trace(stage: Stage, saga: str) -> Trace:
    (trace,) = await traces(stage.store, [saga])
    return trace


async def test_a_saga_that_completed_is_a_trace_of_the_protocol(stage: Stage, name: str) -> None:
    assert await ending(await stage.tour(name, "hold", "authorize", "pay", "pay back")) == "done"

    trace = await _trace(stage, name)
    assert (trace.record.state, violations(trace)) == ("completed", [])


async def test_a_saga_that_was_undone_is_a_trace_of_the_protocol(stage: Stage, name: str) -> None:
    stage.company.declines = True
    assert await ending(await stage.tour(name, "hold", "authorize", "pay")) == "SagaCompensated"

    trace = await _trace(stage, name)
    assert (trace.record.state, violations(trace)) == ("compensated", [])


async def test_a_pivot_over_a_step_that_was_undone_is_none(stage: Stage, name: str) -> None:
    assert await ending(await stage.tour(name, "hold", "pay")) == "done"
    await stage.sql(
        "update commands set undone_since = recorded_at where saga_id = %s and kind = 'compensatable'", name
    )

    broken = violations(await _trace(stage, name))
    assert broken == [
        "A7: the saga ended completed, and HoldMoney is half undone",
        "A7: PayHeldMoney was passed while HoldMoney was half undone",
    ]


async def test_steps_that_no_statement_holds_against_the_record_are_noticed(database_url: str) -> None:
    """The engine as it would be without `enter_step`, whatever its sagas do right."""
    async with PostgresEventStore.open(database_url) as store:
        await store.append(accounts.stream("ann"), [Deposited(amount=100)], expect=ANY)
        async with store.connection() as connection:
            await connection.execute(_WITHOUT)
        town = Town(store, CardCompany())
        saga = await town.begin()
        await saga.send(PayBack(account="ann", amount=5))
        later = await saga.again()
        await later.send(HoldMoney(account="ann", trip="rome", amount=60))
        await later.send(PayHeldMoney(account="ann", trip="rome"))
        await saga.send(Authorize(trip="rome"))
        (trace,) = await traces(store, [saga.saga_id])

    assert violations(trace) == [
        "A2: PayBack was recorded while the record was forward or turning back",
        "A2: Authorize was begun while the record was past the pivot",
        "A2: Authorize was recorded while the record was past the pivot",
        "epoch: Authorize was begun for epoch 1, after a step of epoch 2",
    ]
