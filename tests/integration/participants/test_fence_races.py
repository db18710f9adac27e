"""Participants on a real PostgreSQL: attempts that overtake each other, and effects that land when nobody expects them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from counteract import Outcome
from counteract.errors import CommandFenced, RefusalInDoubt, WrongExpectedVersion
from counteract.participants import Participants, Streams, streams
from counteract.participants.executor import Executor, Participant
from counteract.participants.fence import Fence
from counteract.store import ANY
from counteract.store.decide import ATTEMPTS
from tests.integration.participants.desk import HOLD, Desk, begins, dispatch, undo_of
from tests.travel import bank, strict_answers
from tests.travel.bank import Account, Authorize, Deposited, Held, HoldMoney, Reference, accounts

pytestmark = pytest.mark.integration

AUTHORIZE = Authorize(trip="rome")
SLOW = "select status, result, activity_type, saga_id, command, undone_since is not null from commands where (select pg_sleep(0.5)::text) is not null and command_id = %s"


async def authorizing(desk: Desk, command_id: UUID) -> asyncio.Task[Any]:
    """An attempt that has reached the card company, which is slow to act."""
    desk.company.gate.clear()
    attempt = asyncio.create_task(desk.send(AUTHORIZE, command_id))
    await desk.company.reached.wait()
    return attempt


async def test_an_effect_without_an_answer_that_comes_after_its_undo_is_undone_again(
    desk: Desk, command_id: UUID
) -> None:
    late = await authorizing(desk, command_id)
    await desk.undo(AUTHORIZE, command_id)
    assert desk.company.voided == {}

    desk.company.loses_answers = True
    desk.company.gate.set()
    with pytest.raises(ConnectionError):
        await late

    assert desk.company.voided == {command_id: 1}


async def test_an_attempt_that_is_stopped_after_its_undo_is_undone_again(desk: Desk, command_id: UUID) -> None:
    late = await authorizing(desk, command_id)
    await desk.undo(AUTHORIZE, command_id)

    desk.company.authorized[command_id] = 1
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late

    assert desk.company.voided == {command_id: 1}


async def test_a_repeat_after_the_undo_looks_after_what_a_crashed_attempt_may_have_left(
    desk: Desk, command_id: UUID
) -> None:
    await Fence(desk.store).begin(begins(AUTHORIZE, dispatch(command_id)))
    await desk.undo(AUTHORIZE, command_id)
    desk.company.authorized[command_id] = 1

    for _ in range(2):
        with pytest.raises(CommandFenced):
            await desk.send(AUTHORIZE, command_id)

    assert desk.company.voided[command_id] > 0


async def test_a_repeat_of_what_was_fenced_before_it_began_asks_nobody(desk: Desk, command_id: UUID) -> None:
    await desk.undo(AUTHORIZE, command_id)

    with pytest.raises(CommandFenced):
        await desk.send(AUTHORIZE, command_id)

    assert desk.company.asked == []


async def test_an_attempt_that_fails_before_its_undo_leaves_the_undo_to_it(desk: Desk, command_id: UUID) -> None:
    desk.company.loses_answers = True
    with pytest.raises(ConnectionError):
        await desk.send(AUTHORIZE, command_id)

    assert desk.company.asked == []


async def test_a_refusal_says_nothing_of_an_attempt_that_may_have_happened(desk: Desk, command_id: UUID) -> None:
    late = await authorizing(desk, command_id)
    desk.company.declines = True
    with pytest.raises(RefusalInDoubt):
        await desk.send(AUTHORIZE, command_id)

    desk.company.gate.set()
    await late
    await desk.undo(AUTHORIZE, command_id)

    assert desk.company.asked == [(f"authorized {AUTHORIZE.trip}", Outcome.APPLIED)]
    assert desk.company.voided == {command_id: 1}


async def test_no_handler_decides_on_a_stream_that_holds_its_own_effect_already(
    desk: Desk, command_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.send(HOLD, command_id)
    with monkeypatch.context() as slowly:
        slowly.setattr(streams, "FIND_COMMAND", SLOW)
        overtaken = asyncio.create_task(desk.undo(HOLD, command_id))
        await asyncio.sleep(0.2)

    await desk.undo(HOLD, command_id)
    await overtaken

    assert await desk.account() == Account(100, {})


async def test_a_second_stream_is_not_read_with_the_commands_own_effect_either(desk: Desk, command_id: UUID) -> None:
    await desk.store.append(accounts.stream("bob"), [Deposited(amount=100)], expect=ANY)
    between, go_on = asyncio.Event(), asyncio.Event()
    seen = []

    async def hold_at_both(command: HoldMoney, streams: Streams) -> Reference:
        ann = await streams.load(accounts, "ann")
        if not between.is_set():
            between.set()
            await go_on.wait()
        bob = await streams.load(accounts, "bob")
        seen.append(bob.version)
        ann.append(Held(trip=command.trip, amount=1))
        bob.append(Held(trip=command.trip, amount=1))
        return Reference(reference="both")

    executor = hold_money_by(desk, hold_at_both)
    overtaken = asyncio.create_task(executor.forward(HOLD, dispatch(command_id), limit=5))
    await between.wait()
    await executor.forward(HOLD, dispatch(command_id), limit=5)
    go_on.set()

    assert await overtaken == {"reference": "both"}
    assert seen == [1]


async def test_a_repeat_gets_its_answer_although_the_handler_loads_in_a_task_group(
    desk: Desk, command_id: UUID
) -> None:
    async def hold_in_a_group(command: HoldMoney, streams: Streams) -> Reference:
        async with asyncio.TaskGroup() as group:
            loading = group.create_task(streams.load(accounts, command.account))
        loading.result().append(Held(trip=command.trip, amount=command.amount))
        return Reference(reference="held")

    executor = hold_money_by(desk, hold_in_a_group)
    first = await executor.forward(HOLD, dispatch(command_id), limit=5)

    assert await executor.forward(HOLD, dispatch(command_id), limit=5) == first
    assert await desk.account() == Account(40, {"rome": 60})


async def test_a_stream_loaded_twice_at_once_is_one_stream(desk: Desk, command_id: UUID) -> None:
    async def hold_twice(command: HoldMoney, streams: Streams) -> Reference:
        one, other = await asyncio.gather(*(streams.load(accounts, command.account) for _ in range(2)))
        one.append(Held(trip=command.trip, amount=1))
        other.append(Held(trip=f"{command.trip} again", amount=1))
        return Reference(reference="held")

    await hold_money_by(desk, hold_twice).forward(HOLD, dispatch(command_id), limit=5)

    assert await desk.account() == Account(98, {"rome": 1, "rome again": 1})


async def test_an_undo_gets_the_answer_as_it_was_although_its_type_is_strict(desk: Desk, command_id: UUID) -> None:
    porter = strict_answers.Porter()
    (participant,) = Participants(desk.store, strict_answers, resources=[porter]).check()
    executor = Executor(participant, Fence(desk.store), {strict_answers.Porter: porter})
    command = strict_answers.LockAway(trip="rome")
    await executor.forward(command, dispatch(command_id), limit=5)

    await executor.undo(command, undo_of(command_id))

    assert porter.handed_out == [command_id]


async def test_no_transaction_is_open_while_a_handler_decides(desk: Desk, command_id: UUID) -> None:
    deciding, go_on = asyncio.Event(), asyncio.Event()

    async def hold_slowly(command: HoldMoney, streams: Streams) -> Reference:
        account = await streams.load(accounts, command.account)
        deciding.set()
        await go_on.wait()
        account.append(Held(trip=command.trip, amount=command.amount))
        return Reference(reference="held")

    attempt = asyncio.create_task(hold_money_by(desk, hold_slowly).forward(HOLD, dispatch(command_id), limit=5))
    await deciding.wait()
    async with desk.store.connection() as connection:
        rows = await connection.execute(
            "select state, query from pg_stat_activity "
            "where datname = current_database() and state like 'idle in transaction%'"
        )
        assert await rows.fetchall() == []

    go_on.set()
    await attempt


async def test_a_decision_that_is_always_overtaken_is_left_to_the_slower_retry(desk: Desk, command_id: UUID) -> None:
    decided = 0

    async def always_overtaken(command: HoldMoney, streams: Streams) -> Reference:
        nonlocal decided
        decided += 1
        account = await streams.load(accounts, command.account)
        await desk.store.append(accounts.stream("ann"), [Deposited(amount=1)], expect=ANY)
        account.append(Held(trip=command.trip, amount=command.amount))
        return Reference(reference="held")

    with pytest.raises(WrongExpectedVersion):
        await hold_money_by(desk, always_overtaken).forward(HOLD, dispatch(command_id), limit=5)

    assert decided == ATTEMPTS
    assert await desk.statuses() == []


def hold_money_by(desk: Desk, function: Any) -> Executor:
    """The service of accounts with another handler."""
    participants = Participants(desk.store, bank, resources=[desk.company]).check(["accounts"])
    (ours,) = (each for each in participants if each.command is HoldMoney)
    handler = replace(ours.handler, function=function)
    return Executor(Participant(HoldMoney, handler, ours.compensation, None), Fence(desk.store), {})
