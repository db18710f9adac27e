"""What other runs left behind, or a handler sends, meets what the saga's own code comes by at the same time."""

from __future__ import annotations

import asyncio

import pytest

from counteract.saga import Resolution
from tests.protocol.stage import Handle, Stage, ending, failed_tasks, until
from tests.travel.bank import Account
from tests.travel.reset import reset

pytestmark = pytest.mark.integration

A_MOMENT = 0.4
"""Seconds in which the saga comes to where it has to wait."""


async def test_a_reset_run_that_sends_nothing_leaves_it_to_the_next_one_to_take_up_the_record(
    stage: Stage, name: str
) -> None:
    stage.company.loses_answers = True
    saga = await stage.tour(name, "hold", "new run", "wait", "capture")
    await stage.applied(name, "HoldMoney")
    await stage.handle(name).signal("go_on")

    async def is_at_the_pivot() -> bool:
        return await stage.state(name) == "at the pivot" and bool(stage.company.captured)

    await until(is_at_the_pivot)

    last = await reset(stage, saga.id, behind="HoldMoney", run_id=saga.first_execution_run_id, told=False)
    await stage.applied(name, "HoldMoney")
    await last.cancel()

    assert await ending(last) == "SagaIncomplete"
    assert await stage.state(name) == "past the pivot"
    assert (await stage.money(name)).held == {f"{name} 0": 60}, "nothing is undone behind a pivot that happened"


async def test_what_a_handler_comes_by_while_it_is_being_taken_over_is_the_handlers(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", "pay")
    await stage.applied(name, "HoldMoney")
    await saga.signal("add", "authorize")
    await stage.applied(name, "Authorize")

    again = await reset(stage, saga.id, behind="HoldMoney", told=False)
    await again.signal("pause")
    await again.signal("go_on")
    await asyncio.sleep(A_MOMENT)
    await again.signal("add", "authorize")
    await asyncio.sleep(A_MOMENT)
    await again.signal("resume")

    assert await ending(again) == "done"
    assert await failed_tasks(again) == ["a test"], "but for the one that the reset failed"
    assert stage.effects_left() == 1


async def test_a_pivot_that_is_tried_again_waits_for_a_handler_that_was_held_up_too(stage: Stage, name: str) -> None:
    stage.post.loses_orders = {"PayHeldMoney"}
    saga = await stage.tour(name, "hold", "wait", "pay", parks=True)
    await saga.signal("go_on")
    await stage.stuck(name)
    await saga.signal("pause")
    await saga.signal("add", "authorize")
    await asyncio.sleep(A_MOMENT)
    stage.post.loses_orders = set()
    await saga.execute_update("resolve", Resolution(step="PayHeldMoney", decision="retry", who="ann", why="it is back"))
    await asyncio.sleep(A_MOMENT)
    await saga.signal("resume")

    assert await ending(saga) == "done"
    assert await failed_tasks(saga) == []
    assert list(stage.company.authorized.values()) == [1]


async def test_a_step_that_never_came_to_its_turn_is_undone_where_an_earlier_run_had_sent_it(
    stage: Stage, name: str
) -> None:
    saga = await stage.tour(name, "one by one", "wait")
    await stage.applied(name, "Authorize")
    stage.post.delays = {"HoldMoney"}
    again = await reset(stage, saga.id)
    await stage.begun(name, "Authorize")

    await is_undone_once_cancelled(stage, again)
    assert await failed_tasks(again) == ["a test"], "but for the one that the reset failed"


async def test_nor_is_it_left_behind_by_a_reset_into_the_midst_of_its_group(stage: Stage, name: str) -> None:
    stage.post.delays = {"HoldMoney"}
    saga = await stage.tour(name, "one by one", "wait")
    await stage.begun(name, "Authorize")
    # For a decision of its own, with the first of the group under way.
    await saga.signal("resume")
    await asyncio.sleep(A_MOMENT)
    stage.post.delays = set()
    await stage.applied(name, "Authorize")
    stage.post.delays = {"HoldMoney"}
    again = await reset(stage, saga.id, number=2)
    await stage.begun(name, "Authorize")

    await is_undone_once_cancelled(stage, again)


async def is_undone_once_cancelled(stage: Stage, saga: Handle) -> None:
    await saga.cancel()
    stage.post.delays = set()

    assert await ending(saga) == "CancelledError"
    assert await stage.money(saga.id) == Account(100, {})
    assert stage.effects_left() == 0


async def test_a_paused_saga_sends_nothing_that_waits_for_its_turn(stage: Stage, name: str) -> None:
    stage.post.delays = {"HoldMoney"}
    saga = await stage.tour(name, "one by one", "pay")
    await stage.begun(name, "Authorize")
    await saga.signal("pause")
    stage.post.delays = set()
    await stage.applied(name, "HoldMoney")
    await asyncio.sleep(A_MOMENT)
    assert stage.company.authorized == {}

    await saga.signal("resume")

    assert await ending(saga) == "done"
    assert list(stage.company.authorized.values()) == [1]
