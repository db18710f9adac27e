"""Effects that come after their undo has passed, and whose own undo fails too: each leaves a mark until it is undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from counteract import Outcome
from counteract.cli.close import close
from counteract.errors import CommandFenced, CommandIdReused
from counteract.lifecycle import sagas
from counteract.messages import Dispatch, Role
from counteract.participants import Undo
from counteract.participants.executor import Executor
from counteract.participants.recovery import late_effects
from counteract.store import PostgresEventStore
from tests.integration.participants.desk import begins
from tests.protocol.runs import CAPTURE, PAY, Run, Town
from tests.travel.bank import Authorize, Capture, CardCompany, PayHeldMoney, Reference

pytestmark = pytest.mark.integration

AUTHORIZE = Authorize(trip="rome")

Void = Callable[[Undo[Authorize, Reference], CardCompany], Awaitable[None]]


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with PostgresEventStore.open(database_url) as store:
        yield Town(store, CardCompany())


@pytest.fixture
async def saga(town: Town) -> Run:
    return await town.begin()


async def hanging(town: Town, saga: Run) -> asyncio.Task[object]:
    """An attempt that has reached the card company, which is slow to act."""
    town.company.gate.clear()
    attempt = asyncio.create_task(saga.send(AUTHORIZE))
    await town.company.reached.wait()
    return attempt


def voiding_by(town: Town, void: Void) -> Void:
    """The card company with another compensation; the one it had."""
    executor = town.executors[Authorize]
    ours = executor.participant.compensation
    assert ours is not None
    participant = replace(executor.participant, compensation=replace(ours, function=void))
    town.executors[Authorize] = Executor(participant, executor.fence, executor.resources)
    return ours.function


async def unreachable(undo: Undo[Authorize, Reference], company: CardCompany) -> None:
    raise ConnectionError("the provider is down")


async def marked(town: Town) -> int:
    """How many effects the next round of recovery finds, after the half minute for which it waits."""
    async with town.store.connection() as connection:
        await connection.execute("update commands set late_since = late_since - interval '1 minute'")
    return len(await late_effects(town.store, "default"))


async def test_a_late_effect_whose_undo_fails_leaves_a_mark(town: Town, saga: Run) -> None:
    attempt = await hanging(town, saga)
    await saga.undo(AUTHORIZE, Role.TURN, sent=True)

    voiding_by(town, unreachable)
    with pytest.raises(ConnectionError):
        await saga.send(AUTHORIZE)

    assert await marked(town) == 1
    attempt.cancel()


async def test_a_mark_is_not_taken_away_by_an_undo_that_began_before_the_effect_came(town: Town, saga: Run) -> None:
    voiding, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(undo: Undo[Authorize, Reference], company: CardCompany) -> None:
        """It asked before the effect was there, and its answer takes its time."""
        voiding.set()
        await go_on.wait()

    attempt = await hanging(town, saga)
    ours = voiding_by(town, slowly)
    undoing = asyncio.create_task(saga.undo(AUTHORIZE, Role.TURN, sent=True))
    await voiding.wait()
    voiding_by(town, ours)
    async with town.store.connection() as connection:
        await connection.execute("select late_step(%s)", (saga.id_of("Authorize"),))
    go_on.set()
    await undoing

    assert await marked(town) == 1
    attempt.cancel()


async def test_recovery_undoes_a_late_effect_of_which_nobody_knows_the_answer(town: Town, saga: Run) -> None:
    await saga.town.executors[Authorize].fence.begin(begins(AUTHORIZE, saga.dispatch("Authorize", Role.FORWARD)))
    await saga.undo(AUTHORIZE, Role.TURN, sent=True)
    async with town.store.connection() as connection:
        await connection.execute("select late_step(%s)", (saga.id_of("Authorize"),))
    town.company.asked.clear()

    await town.executors[Authorize].undo(AUTHORIZE, by_recovery(saga))

    assert [outcome for _, outcome in town.company.asked] == [Outcome.UNKNOWN]
    assert await marked(town) == 0


async def test_recovery_undoes_a_late_effect_with_the_answer_that_it_had(town: Town, saga: Run) -> None:
    ours = voiding_by(town, unreachable)
    attempt = await hanging(town, saga)
    voiding_by(town, ours)
    await saga.undo(AUTHORIZE, Role.TURN, sent=True)
    town.company.gate.set()
    with pytest.raises(ConnectionError):
        await attempt

    await town.executors[Authorize].undo(AUTHORIZE, by_recovery(saga))

    assert town.company.asked[-1] == ("authorized rome", Outcome.APPLIED)


async def test_an_external_effect_is_not_begun_under_the_id_of_another(town: Town, saga: Run) -> None:
    """Of the same fields, so that nothing but its type tells the two apart."""
    town.company.loses_answers = True
    with pytest.raises(ConnectionError):
        await saga.send(AUTHORIZE)

    forged = saga.dispatch("Authorize", Role.FORWARD).model_copy(update={"standing": None})
    with pytest.raises(CommandIdReused):
        await town.executors[Capture].forward(Capture(trip="rome"), forged, limit=5)

    assert town.company.captured == set()


async def test_a_late_effect_that_has_no_undo_is_marked_until_a_person_has_seen_to_it(town: Town, saga: Run) -> None:
    await town.executors[Capture].fence.begin(begins(CAPTURE, saga.dispatch("Capture", Role.FORWARD)))
    assert not (await saga.settle(CAPTURE))["happened"]
    await saga.undo(AUTHORIZE, Role.TURN)
    await saga.compensated()
    async with town.store.connection() as connection:
        await connection.execute("select late_step(%s)", (saga.id_of("Capture"),))
    assert await marked(town) == 1

    async with town.store.connection() as connection:
        assert await close(connection, saga.saga_id, saga.run_id, "ann", "refunded by hand") == ("compensated", True)
        assert await close(connection, saga.saga_id, saga.run_id, "ann", "again") == ("compensated", False)

    assert await marked(town) == 0
    *_, ended, said = await town.store.read_stream(sagas.stream(saga.saga_id))
    assert (ended.event_type, said.event_type) == ("SagaCompensated", "SagaResolved")


def by_recovery(saga: Run) -> Dispatch:
    """As a round of recovery sends it: nobody's run stands behind it."""
    dispatch = saga.dispatch("Authorize", Role.UNDO)
    return dispatch.model_copy(update={"command_id": uuid4(), "undoes": dispatch.command_id, "standing": None})


async def test_a_pivot_that_was_answered_between_two_settlements_is_on_record(town: Town, saga: Run) -> None:
    """The provider could not say at first, and then the attempt itself came to its end."""
    executor, begun, go_on = town.executors[Capture], asyncio.Event(), asyncio.Event()
    ours = executor.participant.handler

    async def slow(command: Capture, **arguments: Any) -> Reference:
        reference: Reference = await ours.function(command, **arguments)
        begun.set()
        await go_on.wait()
        return reference

    participant = replace(executor.participant, handler=replace(ours, function=slow))
    town.executors[Capture] = Executor(participant, executor.fence, executor.resources)
    attempt = asyncio.create_task(saga.send(CAPTURE))
    await begun.wait()
    town.company.gate.clear()
    with pytest.raises(ConnectionError):
        await saga.settle(CAPTURE)
    go_on.set()
    with pytest.raises(CommandFenced):
        await attempt
    town.company.gate.set()

    assert (await saga.settle(CAPTURE))["happened"]

    assert await saga.recorded_state() == "past the pivot"
    assert (await saga.complete("Capture")).state == "completed"
    assert await marked(town) == 0


async def test_a_saga_stays_at_a_pivot_that_may_stand_where_another_one_never_happened(town: Town, saga: Run) -> None:
    """An earlier run's, and the one that a further run has in its place, and that was refused."""
    await town.executors[Capture].fence.begin(begins(CAPTURE, saga.dispatch("Capture", Role.FORWARD)))

    assert not (await saga.settle(PAY))["happened"]
    assert await saga.recorded_state() == "at the pivot"

    assert not (await saga.settle(CAPTURE))["happened"]
    assert await saga.recorded_state() == "forward"


async def test_so_it_does_where_the_provider_of_the_other_one_has_to_be_asked(town: Town, saga: Run) -> None:
    await town.executors[PayHeldMoney].fence.begin(begins(PAY, saga.dispatch("PayHeldMoney", Role.FORWARD)))

    assert not (await saga.settle(CAPTURE))["happened"]

    assert await saga.recorded_state() == "at the pivot"
