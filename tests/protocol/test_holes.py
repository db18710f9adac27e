"""The twelve ways by which the first draft of the protocol could be got round, each as its services and its record see it."""

from __future__ import annotations

import asyncio

import pytest

from counteract import Outcome
from counteract.errors import CommandFenced, RefusalInDoubt, Rejected
from counteract.messages import Dispatch, Role
from counteract.participants import Streams, handles
from counteract.participants.handlers import marked_in
from tests.protocol.runs import AUTHORIZE, CAPTURE, HOLD, PAY, PAY_BACK, Run, Town, refused
from tests.travel.bank import (
    Account,
    Authorize,
    CardCompany,
    Deposited,
    Reference,
    accounts,
)

pytestmark = pytest.mark.integration

# 1


async def test_a_retriable_is_recorded_past_the_pivot(town: Town, first: Run) -> None:
    await first.send(HOLD)
    await first.send(PAY, done=["HoldMoney"])

    await first.send(PAY_BACK)

    assert await town.account() == Account(45, {})
    assert (await first.complete("HoldMoney", "PayHeldMoney", "PayBack")).state == "completed"


# 2


async def test_the_undo_of_a_slow_step_does_not_land_after_a_later_run_has_relied_on_its_answer(
    town: Town, first: Run
) -> None:
    await first.send(AUTHORIZE)
    later = await first.again()
    await later.send(AUTHORIZE)

    await refused("superseded", first.undo(AUTHORIZE))

    assert town.company.asked == []
    assert (await later.complete("Authorize")).state == "completed"


# 3


async def test_half_an_undo_is_on_record_too(town: Town, first: Run) -> None:
    await first.send(AUTHORIZE)
    town.company.loses_answers = True
    with pytest.raises(ConnectionError):
        await _undo_without_a_record(town, first)

    later = await first.again()

    with pytest.raises(CommandFenced):
        await later.send(AUTHORIZE)


async def test_nobody_completes_with_half_an_undo(town: Town, first: Run) -> None:
    await first.send(AUTHORIZE)
    with pytest.raises(ConnectionError):
        await _undo_without_a_record(town, first)

    assert (await first.complete("Authorize")).contradicted == ("Authorize",)


async def _undo_without_a_record(town: Town, run: Run) -> None:
    """The compensation runs, and its process dies."""

    async def dies(*_: object, **__: object) -> None:
        raise ConnectionError

    executor = town.executors[Authorize]
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(type(executor.fence), "record", dies)
        await run.undo(AUTHORIZE)


# 4


async def test_nothing_is_undone_past_the_pivot(town: Town, first: Run) -> None:
    await first.send(HOLD)
    await first.send(PAY, done=["HoldMoney"])
    later = await first.again()

    await refused("past the pivot", later.undo(HOLD))
    await refused("past the pivot", later.undo(HOLD, Role.TURN))

    assert await town.account() == Account(40, {})


# 5


async def test_the_pivot_of_an_earlier_run_does_not_land_after_a_step_was_undone(town: Town, first: Run) -> None:
    await first.send(HOLD)
    later = await first.again()
    await later.undo(HOLD)

    await refused("superseded", first.send(PAY))

    assert await town.account() == Account(100, {})


# 6


async def test_nothing_before_the_pivot_happens_while_the_saga_is_at_it(town: Town, first: Run) -> None:
    await first.send(HOLD)
    town.company.unreachable = True
    with pytest.raises(ConnectionError):
        await first.send(CAPTURE, done=["HoldMoney"])
    later = await first.again()

    assert later.state == "at the pivot"
    await refused("at the pivot", later.undo(HOLD))
    await refused("at the pivot", later.send(AUTHORIZE))


async def test_only_the_settlement_of_the_pivot_leads_away_from_it(town: Town, first: Run) -> None:
    await first.send(HOLD)
    town.company.unreachable = True
    with pytest.raises(ConnectionError):
        await first.send(CAPTURE, done=["HoldMoney"])

    assert await first.settle(CAPTURE) == {"happened": False}

    assert await first.recorded_state() == "forward"
    await first.undo(HOLD, Role.TURN)
    assert await first.recorded_state() == "turning back"


async def test_a_pivot_that_is_settled_as_happened_passes_it(town: Town, first: Run) -> None:
    town.company.loses_answers = True
    with pytest.raises(ConnectionError):
        await first.send(CAPTURE)

    assert (await first.settle(CAPTURE))["happened"]

    assert await first.recorded_state() == "past the pivot"
    await refused("past the pivot", first.undo(HOLD, Role.TURN))


# 7


async def test_a_refusal_proves_nothing_where_another_attempt_had_begun(town: Town, first: Run) -> None:
    town.company.gate.clear()
    hanging = asyncio.create_task(first.send(AUTHORIZE))
    await town.company.reached.wait()
    town.company.declines = True
    with pytest.raises(RefusalInDoubt):
        await first.send(AUTHORIZE)

    town.company.gate.set()
    await hanging
    await first.undo(AUTHORIZE, Role.TURN)

    assert len(town.company.voided) == 1


async def test_a_refusal_at_a_later_attempt_proves_nothing_although_the_store_forgot_the_first(
    town: Town, first: Run
) -> None:
    town.company.loses_answers = True
    with pytest.raises(ConnectionError):
        await first.send(AUTHORIZE)
    await town.forget("commands", first)
    town.company.declines = True

    with pytest.raises(RefusalInDoubt):
        await first.send(AUTHORIZE, attempt=2)


async def test_a_refusal_proves_nothing_where_the_store_forgot_that_it_had_begun(town: Town, first: Run) -> None:
    class Forgetful(CardCompany):
        async def call(self, *_: object) -> None:
            await town.forget("commands", first)
            raise Rejected("no")

    vars(town.company)["call"] = Forgetful().call

    with pytest.raises(RefusalInDoubt):
        await first.send(AUTHORIZE)


async def test_a_refusal_proves_nothing_where_another_writer_was_faster_than_the_effect(town: Town, first: Run) -> None:
    """The same attempt asks its handler again, which finds the account as the other one has left it."""

    @handles(Authorize, effect="external")
    async def authorize(command: Authorize, streams: Streams, dispatch: Dispatch, company: CardCompany) -> Reference:
        account = await streams.load(accounts, "ann")
        if account.state.available < 100:
            raise Rejected("the money is gone")
        await company.call(company.authorized, dispatch.command_id)
        await first.send(HOLD)
        account.append(Deposited(amount=1))
        return Reference(reference="authorized")

    town.handle(Authorize, marked_in(authorize)[0])
    with pytest.raises(RefusalInDoubt):
        await first.send(AUTHORIZE)
    await first.undo(AUTHORIZE, Role.TURN)

    assert town.company.voided == town.company.authorized != {}


# 8


async def test_what_a_later_branch_had_sent_does_not_land_after_a_reset_of_an_earlier_one(
    town: Town, first: Run
) -> None:
    """Runs that continue each other share an epoch; the reset of the first one raises it."""
    after_reset = await first.again()
    await after_reset.send(AUTHORIZE)

    await refused("superseded", first.send(HOLD))

    assert await town.account() == Account(100, {})


# 9


async def test_another_way_past_the_pivot_does_not_complete_with_a_step_that_nobody_knows(
    town: Town, first: Run
) -> None:
    await first.send(HOLD)
    await first.send(AUTHORIZE)
    await first.send(PAY, done=["HoldMoney", "Authorize"])
    later = await first.again()
    await later.send(HOLD)
    await later.send(PAY, done=["HoldMoney"])

    ended = await later.complete("HoldMoney", "PayHeldMoney")

    assert ended.contradicted == ("Authorize",)
    assert await later.recorded_state() == "past the pivot"


async def test_a_pivot_is_refused_while_the_store_says_otherwise_of_what_it_counts_on(town: Town, first: Run) -> None:
    await first.send(HOLD)
    await first.send(AUTHORIZE)

    await refused("contradicted", first.send(PAY, done=["HoldMoney"]))

    assert await first.recorded_state() == "forward"


# 10


async def test_what_a_slow_run_sends_after_recovery_has_claimed_its_saga_is_refused(town: Town, first: Run) -> None:
    await first.send(HOLD)
    claimed = await town.records.claim(first.saga_id, first.run_id, who="recovery", why="terminated")

    assert claimed is not None
    assert claimed.state == "turning back"
    await refused("turning back", first.send(AUTHORIZE))
    await refused("turning back", first.send(PAY))
    assert (await first.complete("HoldMoney")).state == "turning back"


async def test_recovery_claims_nothing_of_a_saga_that_went_on(town: Town, first: Run) -> None:
    await first.send(HOLD)
    await first.send(PAY, done=["HoldMoney"])

    claimed = await town.records.claim(first.saga_id, first.run_id, who="recovery", why="terminated")

    assert claimed is not None
    assert claimed.state == "past the pivot"


async def test_recovery_claims_nothing_at_the_pivot(town: Town, first: Run) -> None:
    town.company.loses_answers = True
    with pytest.raises(ConnectionError):
        await first.send(CAPTURE)

    claimed = await town.records.claim(first.saga_id, first.run_id, who="recovery", why="terminated")

    assert claimed is not None
    assert claimed.state == "at the pivot"


# 11


async def test_an_external_effect_whose_begun_row_was_lost_is_undone_all_the_same(town: Town, first: Run) -> None:
    await first.send(AUTHORIZE)
    await town.forget("commands", first)

    await first.undo(AUTHORIZE, Role.TURN, sent=True, answered=True)

    assert [outcome for _, outcome in town.company.asked] == [Outcome.UNKNOWN]
    assert len(town.company.voided) == 1


async def test_an_end_is_refused_where_the_store_lost_what_it_counts_on(town: Town, first: Run) -> None:
    await first.send(HOLD)
    await town.forget("commands", first)

    assert (await first.complete("HoldMoney")).contradicted == ("HoldMoney",)


async def test_a_turn_that_was_lost_is_made_again_by_the_next_undo(town: Town, first: Run) -> None:
    await first.send(HOLD)
    await first.send(AUTHORIZE)
    await first.undo(AUTHORIZE, Role.TURN, sent=True)
    await town.turn(first, "forward")

    await first.undo(HOLD, Role.TURN, sent=True)

    assert await first.recorded_state() == "turning back"
    assert await town.account() == Account(100, {})


async def test_a_record_that_was_lost_is_made_again_by_what_comes_next(town: Town, first: Run) -> None:
    await first.send(HOLD)
    await town.forget("sagas", first)

    await first.undo(HOLD, Role.TURN, sent=True)

    assert await first.recorded_state() == "turning back"
    await refused("turning back", first.send(AUTHORIZE))


async def test_a_saga_that_knows_its_pivot_answered_goes_on_although_the_store_forgot(town: Town, first: Run) -> None:
    await first.send(HOLD)
    await first.send(PAY, done=["HoldMoney"])
    await town.turn(first, "forward")

    await first.send(PAY_BACK)

    assert await first.recorded_state() == "past the pivot"
