"""One id, one content: what a further run, a person or another service sends under an id that is taken."""

from __future__ import annotations

import pytest

from counteract.messages import Role
from counteract.saga import Resolution
from counteract.store import ANY
from tests.protocol.runs import Town
from tests.protocol.stage import Stage, ending, until
from tests.travel.bank import Account, Deposited, HoldMoney, accounts
from tests.travel.reset import reset

pytestmark = pytest.mark.integration


async def test_a_step_with_an_id_of_its_own_making_is_refused_after_a_reset(stage: Stage, name: str) -> None:
    """The first answer would stand for what was never held."""
    saga = await stage.tour(name, "hold", "wait", own_id=True)
    await stage.applied(name, "HoldMoney")

    again = await reset(stage, saga.id)

    assert await ending(again) == "SagaCompensated"
    report = await again.query("report")
    assert "CommandIdReused" in report["cause"]
    assert await stage.money(name) == Account(100, {}), "and the undo was given what had been held"


async def test_an_undo_is_given_the_command_that_was_recorded(stage: Stage, name: str) -> None:
    """A run after a change of the code counts on the row, and asks for the undo of what it would have sent."""
    town = Town(stage.store, stage.company)
    run = await town.begin()
    await stage.store.append(accounts.stream(name), [Deposited(amount=100)], expect=ANY)
    await run.send(HoldMoney(account=name, trip="rome", amount=50))

    await run.undo(HoldMoney(account=name, trip="paris", amount=5), Role.TURN, sent=True)

    assert await stage.money(name) == Account(100, {})


async def test_an_undo_is_given_the_command_that_a_person_has_corrected(stage: Stage, name: str) -> None:
    town = Town(stage.store, stage.company)
    run = await town.begin()
    await stage.store.append(accounts.stream(name), [Deposited(amount=100)], expect=ANY)
    await run.send(HoldMoney(account=name, trip="rome", amount=50))
    await run.send(HoldMoney(account=name, trip="paris", amount=5), key="HoldMoney#2")

    await run.undo(HoldMoney(account=name, trip="paris", amount=5), Role.TURN, sent=True, corrected=True)

    assert (await stage.money(name)).held == {"rome": 50}


async def test_a_refusal_at_a_later_attempt_undoes_what_the_first_one_did(stage: Stage, name: str) -> None:
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "authorize")
    await until(lambda: _authorized(stage))
    stage.company.declines = True

    assert await ending(saga) == "SagaCompensated"
    assert stage.effects_left() == 0


async def test_a_tolerated_refusal_at_a_later_attempt_is_undone_and_told(stage: Stage, name: str) -> None:
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "tolerant authorize", "pay")
    await until(lambda: _authorized(stage))
    stage.company.declines = True

    assert await ending(saga) == "done"
    assert stage.effects_left() == 0


async def test_a_retriable_whose_answer_was_lost_is_asked_again_and_not_done_twice(stage: Stage, name: str) -> None:
    stage.post.loses_answers = {"PayBack"}
    saga = await stage.tour(name, "pay", "pay back")
    await stage.stuck(name)
    stage.post.loses_answers = set()

    await saga.execute_update("resolve", Resolution(step="PayBack", decision="retry", who="ann", why="it is back"))

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 101


async def test_a_retriable_that_merely_takes_long_is_not_done_twice(stage: Stage, name: str) -> None:
    stage.post.delays = {"PayBack"}
    saga = await stage.tour(name, "pay", "pay back")
    await stage.stuck(name)

    await saga.execute_update("resolve", Resolution(step="PayBack", decision="retry", who="ann", why="try again"))
    stage.post.delays = set()

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 101


async def test_a_corrected_retriable_that_had_happened_is_not_done_again(stage: Stage, name: str) -> None:
    stage.post.loses_answers = {"PayBack"}
    saga = await stage.tour(name, "pay", "pay back")
    await stage.stuck(name)
    stage.post.loses_answers = set()
    corrected = {"account": name, "amount": 7}

    await saga.execute_update(
        "resolve", Resolution(step="PayBack", decision="retry", who="ann", why="seven", command=corrected)
    )

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 101


async def test_a_skipped_retriable_that_had_happened_counts_as_done(stage: Stage, name: str) -> None:
    stage.post.loses_answers = {"PayBack"}
    saga = await stage.tour(name, "pay", "pay back")
    await stage.stuck(name)
    stage.post.loses_answers = set()

    await saga.execute_update("resolve", Resolution(step="PayBack", decision="skip", who="ann", why="no need"))

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 101


async def test_a_skipped_retriable_never_happens_later(stage: Stage, name: str) -> None:
    stage.post.loses_orders = {"PayBack"}
    saga = await stage.tour(name, "pay", "pay back")
    await stage.stuck(name)
    await saga.execute_update("resolve", Resolution(step="PayBack", decision="skip", who="ann", why="no need"))

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 100
    rows = await stage.sql("select status from commands where saga_id = %s and activity_type = 'PayBack'", name)
    assert rows == [("fenced",)]


async def _authorized(stage: Stage) -> bool:
    return bool(stage.company.authorized)
