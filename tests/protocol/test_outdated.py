"""A run that is over leaves a look at the record behind, which comes late: of all runs, the one whose code still runs is the last."""

from __future__ import annotations

import asyncio

import pytest

from tests.protocol.stage import Handle, Stage, ending, until
from tests.travel.bank import Account
from tests.travel.reset import reset

pytestmark = pytest.mark.integration

LATE_LOOK = "update sagas set epoch = epoch + 1, last_run = 'a run that is over' where saga_id = %s"


async def test_a_late_look_of_a_run_that_is_over_does_not_stop_the_one_that_goes_on(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", "pay", "pay back")
    await stage.applied(name, "HoldMoney")
    await stage.sql(LATE_LOOK, name)

    await saga.signal("go_on")

    assert await ending(saga) == "done"
    assert await stage.state(name) == "completed"


async def test_nor_does_it_keep_it_from_turning_back(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", "refuse")
    await stage.applied(name, "HoldMoney")
    await stage.sql(LATE_LOOK, name)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})


async def test_nor_does_it_keep_what_must_succeed_from_being_carried_out(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "pay", "wait", "pay back")
    await stage.applied(name, "PayHeldMoney")
    await stage.sql(LATE_LOOK, name)

    await saga.signal("go_on")

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 101


async def test_what_must_succeed_and_was_under_way_at_a_reset_is_sent_again_once_another_step_has_raised_the_epoch(
    stage: Stage, name: str
) -> None:
    stage.post.delays = {"PayBack"}
    saga = await stage.tour(name, "pay", "pay back")
    await stage.begun(name, "PayBack")
    known = await _decisions(saga)
    await saga.signal("resume")

    async def has_decided_again() -> bool:
        return await _decisions(saga) > known

    await until(has_decided_again)
    again = await reset(stage, name, last=True)
    update = asyncio.create_task(again.execute_update("add_now", "pay back"))
    await stage.begun(name, "PayBack#2")

    stage.post.delays = set()

    await update
    assert await ending(again) == "done"
    assert (await stage.money(name)).available == 102


async def _decisions(saga: Handle) -> int:
    events = (await saga.fetch_history()).events
    return sum(each.HasField("workflow_task_completed_event_attributes") for each in events)
