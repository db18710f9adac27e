"""Participants on a real PostgreSQL, without Temporal: every order in which a command, its repeats and its undo meet."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from counteract import Outcome, Rejected
from counteract.errors import CommandFenced, CommandIdReused, StoreError
from counteract.messages import Role
from counteract.participants.answers import Answer, WrongResult
from counteract.participants.executor import Executor
from counteract.participants.fence import Fence
from counteract.participants.request import Request
from counteract.store import ANY
from tests.integration.participants.desk import HOLD, Desk, begins, dispatch, undo_of
from tests.travel.bank import Account, Authorize, Capture, Deposited, HoldMoney, PayHeldMoney, accounts

pytestmark = pytest.mark.integration


async def test_a_saga_does_not_undo_what_another_one_has_done(desk: Desk, command_id: UUID) -> None:
    await desk.send(HOLD, command_id)
    undo = undo_of(command_id).model_copy(update={"saga_id": "another"})
    for attempt in (desk.executor(HoldMoney).undo(HOLD, undo), desk.executor(HoldMoney).undo(HOLD, undo)):
        with pytest.raises(StoreError, match="belongs to the saga s, not to another"):
            await attempt
    assert (await desk.account()).held == {"rome": 60}
    assert await desk.statuses() == [("HoldMoney", "done")]


async def test_a_command_takes_effect_and_its_answer_is_kept(desk: Desk, command_id: UUID) -> None:
    assert await desk.send(HOLD, command_id) == {"reference": "2"}

    assert await desk.account() == Account(40, {"rome": 60})
    assert await desk.statuses() == [("HoldMoney", "done")]


async def test_a_command_sent_again_gets_the_first_answer_and_does_nothing(desk: Desk, command_id: UUID) -> None:
    first = await desk.send(HOLD, command_id)
    await desk.store.append(accounts.stream("ann"), [Deposited(amount=500)], expect=ANY)

    assert await desk.send(HOLD, command_id) == first
    assert (await desk.account()).available == 540


async def test_the_same_command_sent_many_times_at_once_takes_effect_once(desk: Desk, command_id: UUID) -> None:
    answers = await asyncio.gather(*(desk.send(HOLD, command_id) for _ in range(8)))

    assert answers == [{"reference": "2"}] * 8
    assert await desk.account() == Account(40, {"rome": 60})


async def test_a_decision_overtaken_by_another_writer_is_made_anew(desk: Desk) -> None:
    trips = [HoldMoney(account="ann", trip=f"trip {n}", amount=30) for n in range(5)]

    answers = await asyncio.gather(*(desk.send(trip, uuid4()) for trip in trips), return_exceptions=True)

    assert sum(isinstance(each, Rejected) for each in answers) == 2
    assert (await desk.account()).available == 10


async def test_a_refusal_is_kept_and_repeated_although_the_facts_have_changed(desk: Desk, command_id: UUID) -> None:
    with pytest.raises(Rejected):
        await desk.send(HoldMoney(account="ann", trip="rome", amount=101), command_id)
    await desk.store.append(accounts.stream("ann"), [Deposited(amount=500)], expect=ANY)

    with pytest.raises(Rejected) as refused:
        await desk.send(HoldMoney(account="ann", trip="rome", amount=101), command_id)

    assert (refused.value.reason, dict(refused.value.data)) == ("not enough money", {"available": 100})


async def test_an_undo_takes_the_effect_back(desk: Desk, command_id: UUID) -> None:
    await desk.send(HOLD, command_id)

    await desk.undo(HOLD, command_id)

    assert await desk.account() == Account(100, {})


async def test_an_undo_done_twice_is_done_once(desk: Desk, command_id: UUID) -> None:
    await desk.send(HOLD, command_id)

    await desk.undo(HOLD, command_id)
    await desk.undo(HOLD, command_id)

    assert (await desk.store.load(accounts, "ann")).version == 3


async def test_undos_at_the_same_time_are_one_undo(desk: Desk, command_id: UUID) -> None:
    await desk.send(HOLD, command_id)

    await asyncio.gather(*(desk.undo(HOLD, command_id) for _ in range(8)))

    assert (await desk.store.load(accounts, "ann")).version == 3


async def test_an_undo_of_what_never_ran_does_nothing(desk: Desk, command_id: UUID) -> None:
    await desk.undo(HOLD, command_id)

    assert (await desk.store.load(accounts, "ann")).version == 1
    assert await desk.statuses() == [("HoldMoney", "fenced"), ("FreeMoney", "done")]


async def test_an_undo_of_what_was_refused_does_nothing(desk: Desk, command_id: UUID) -> None:
    with pytest.raises(Rejected):
        await desk.send(HoldMoney(account="ann", trip="rome", amount=101), command_id)

    await desk.undo(HOLD, command_id)

    assert (await desk.store.load(accounts, "ann")).version == 1


async def test_a_late_original_is_refused_after_its_undo(desk: Desk, command_id: UUID) -> None:
    await desk.undo(HOLD, command_id)

    with pytest.raises(CommandFenced):
        await desk.send(HOLD, command_id)
    assert (await desk.store.load(accounts, "ann")).version == 1


async def test_whatever_way_an_original_and_its_undo_race_nothing_is_left(desk: Desk) -> None:
    async def race(n: int) -> None:
        command, command_id = HoldMoney(account="ann", trip=f"trip {n}", amount=1), uuid4()

        async def original() -> None:
            await asyncio.sleep(random.uniform(0, 0.02))
            await desk.send(command, command_id)

        async def undo() -> None:
            await asyncio.sleep(random.uniform(0, 0.02))
            await desk.undo(command, command_id)

        outcomes = await asyncio.gather(original(), undo(), original(), undo(), return_exceptions=True)
        assert all(each is None or isinstance(each, CommandFenced) for each in outcomes), outcomes

    for _ in range(4):
        await asyncio.gather(*map(race, range(6)))

    assert await desk.account() == Account(100, {})


async def test_a_command_id_used_for_another_command_is_an_error(desk: Desk, command_id: UUID) -> None:
    await desk.send(HOLD, command_id)

    with pytest.raises(CommandIdReused):
        await desk.send(PayHeldMoney(account="ann", trip="rome"), command_id)


async def test_an_external_effect_is_known_to_have_begun_before_it_happens(desk: Desk, command_id: UUID) -> None:
    desk.company.gate.clear()
    sending = asyncio.create_task(desk.send(Authorize(trip="rome"), command_id))
    await desk.company.reached.wait()

    assert await desk.statuses() == [("Authorize", "started")]
    desk.company.gate.set()
    assert await sending == {"reference": "authorized rome"}
    assert await desk.statuses() == [("Authorize", "done")]


async def test_an_external_effect_whose_answer_was_lost_is_undone_as_unknown(desk: Desk, command_id: UUID) -> None:
    desk.company.loses_answers = True
    with pytest.raises(ConnectionError):
        await desk.send(Authorize(trip="rome"), command_id)

    await desk.undo(Authorize(trip="rome"), command_id)
    await desk.undo(Authorize(trip="rome"), command_id)

    assert desk.company.asked == [("", Outcome.UNKNOWN)]
    assert desk.company.voided == {command_id: 1}


async def test_an_external_effect_that_was_answered_is_undone_with_its_answer(desk: Desk, command_id: UUID) -> None:
    await desk.send(Authorize(trip="rome"), command_id)

    await desk.undo(Authorize(trip="rome"), command_id)

    assert desk.company.asked == [("authorized rome", Outcome.APPLIED)]


async def test_an_external_effect_that_comes_after_its_undo_is_undone_again(desk: Desk, command_id: UUID) -> None:
    desk.company.gate.clear()
    late = asyncio.create_task(desk.send(Authorize(trip="rome"), command_id))
    await desk.company.reached.wait()
    await desk.undo(Authorize(trip="rome"), command_id)
    assert desk.company.voided == {}

    desk.company.gate.set()
    with pytest.raises(CommandFenced):
        await late

    assert desk.company.asked == [("", Outcome.UNKNOWN), ("authorized rome", Outcome.APPLIED)]
    assert desk.company.voided == {command_id: 1}


async def test_an_undo_that_failed_halfway_still_knows_that_the_effect_may_have_happened(
    desk: Desk, command_id: UUID
) -> None:
    desk.company.loses_answers = True
    with pytest.raises(ConnectionError):
        await desk.send(Authorize(trip="rome"), command_id)
    command = Authorize(trip="rome")
    undo = undo_of(command_id)
    await Fence(desk.store).fence(Request("Void", command, undo, Role.UNDO, external=True), if_never="null")

    await desk.undo(command, command_id)

    assert desk.company.voided == {command_id: 1}


async def test_a_handler_that_takes_too_long_is_stopped_in_time_to_say_so(desk: Desk, command_id: UUID) -> None:
    desk.company.gate.clear()

    with pytest.raises(TimeoutError):
        await desk.send(Authorize(trip="rome"), command_id, limit=0.05)

    assert await desk.statuses() == [("Authorize", "started")]


async def test_a_decline_is_a_refusal_and_repeated_without_asking_again(desk: Desk, command_id: UUID) -> None:
    desk.company.declines = True
    with pytest.raises(Rejected):
        await desk.send(Authorize(trip="rome"), command_id)
    desk.company.declines = False

    with pytest.raises(Rejected, match="declined"):
        await desk.send(Authorize(trip="rome"), command_id)
    assert desk.company.authorized == {}


async def test_a_pivot_that_never_began_is_settled_as_never(desk: Desk, command_id: UUID) -> None:
    pay = PayHeldMoney(account="ann", trip="rome")

    assert await desk.settle(pay, command_id) == {"happened": False}
    assert await desk.settle(pay, command_id) == {"happened": False}
    with pytest.raises(CommandFenced):
        await desk.send(pay, command_id)


async def test_a_pivot_that_took_effect_is_settled_with_its_result(desk: Desk, command_id: UUID) -> None:
    await desk.send(HOLD, uuid4())
    pay = PayHeldMoney(account="ann", trip="rome")
    await desk.send(pay, command_id)

    assert await desk.settle(pay, command_id) == {"happened": True, "result": {"reference": "paid"}}


async def test_an_external_pivot_whose_answer_was_lost_is_settled_by_asking(desk: Desk, command_id: UUID) -> None:
    desk.company.loses_answers = True
    with pytest.raises(ConnectionError):
        await desk.send(Capture(trip="rome"), command_id)

    settled = {"happened": True, "result": {"reference": "captured after all"}}
    assert await desk.settle(Capture(trip="rome"), command_id) == settled
    assert await desk.settle(Capture(trip="rome"), command_id) == settled

    assert (await desk.account("rome")).available == 1
    assert await desk.send(Capture(trip="rome"), command_id) == {"reference": "captured after all"}


async def test_an_external_pivot_that_did_not_happen_never_will(desk: Desk, command_id: UUID) -> None:
    await Fence(desk.store).begin(begins(Capture(trip="rome"), dispatch(command_id)))

    assert await desk.settle(Capture(trip="rome"), command_id) == {"happened": False}
    with pytest.raises(CommandFenced):
        await desk.send(Capture(trip="rome"), command_id)
    assert desk.company.captured == set()


async def test_a_result_of_the_wrong_type_is_not_recorded(
    desk: Desk, command_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(Executor, "_call", nothing)

    with pytest.raises(WrongResult, match=r"hold_money returned NoneType, expected .*Reference"):
        await desk.send(HOLD, command_id)
    assert await desk.statuses() == []


async def test_a_refusal_counts_only_in_the_server_in_which_its_attempt_began(desk: Desk, command_id: UUID) -> None:
    """One that was started since may have forgotten another attempt, which took effect."""
    fence, command, sent = Fence(desk.store), Authorize(trip="rome"), dispatch(command_id)
    request = begins(command, sent)
    _, server_since = await fence.begin(request)
    refusal = Answer("rejected", '{"reason": "no", "data": {}}')

    doubted = await fence.record(request.told(server_since=server_since - timedelta(seconds=1)), refusal)
    believed = await fence.record(request.told(server_since=server_since), refusal)

    assert (doubted.status, believed.status) == ("doubtful", "rejected")
