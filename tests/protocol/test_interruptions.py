"""What comes in while a further run of a saga has to look something up: it stops the saga as it would have in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

from counteract.lifecycle import FETCH_STATE
from tests.protocol import domain
from tests.protocol.stage import Handle, Stage, ending, until
from tests.travel.bank import Account
from tests.travel.reset import reset

pytestmark = pytest.mark.integration


TASK = timedelta(seconds=3)


class Hesitation(Interceptor):
    """The store takes its time to say what a saga has come to."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        seconds = self.seconds

        class Hesitant(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
                if activity.info().activity_type == FETCH_STATE:
                    await asyncio.sleep(seconds)
                return await super().execute_activity(input)

        return Hesitant(next)


@pytest.fixture
def alone(stage: Stage) -> Stage:
    """Nobody carries out its sagas, unless the test says so."""
    return replace(stage, queue=f"interrupted-{uuid4().hex[:8]}")


@asynccontextmanager
async def carried_out(stage: Stage, seconds: float = 1) -> AsyncIterator[None]:
    async with Worker(stage.client, task_queue=stage.queue, workflows=domain.FLOWS, interceptors=[Hesitation(seconds)]):
        yield


async def tasks(saga: Handle) -> int:
    """How many decisions its history holds."""
    events = (await saga.fetch_history()).events
    return sum(each.HasField("workflow_task_completed_event_attributes") for each in events)


async def test_a_pivot_does_not_begin_while_its_saga_is_about_to_be_stopped(alone: Stage, name: str) -> None:
    async with carried_out(alone):
        saga = await alone.tour(name, "hold", "wait", "pay")
        await alone.applied(name, "HoldMoney")
        known = await tasks(saga)
        await saga.signal("resume")
        await until(lambda: _more_than(known, saga))
    again = await reset(alone, name, last=True)
    # The run takes up its record before the pivot, and is cancelled in the same moment.
    await again.signal("go_on")
    await again.cancel()

    async with carried_out(alone):
        assert await ending(again) == "CancelledError"

    assert await alone.state(name) == "compensated"
    assert await alone.money(name) == Account(100, {})


async def test_a_saga_is_stopped_while_it_undoes_what_it_did_not_come_by(alone: Stage, name: str) -> None:
    async with carried_out(alone):
        await alone.tour(name, "hold", "authorize", "wait", otherwise=["hold"])
        await alone.applied(name, "Authorize")
        alone.post.delays.add("Void")
        again = await reset(alone, name)
        await until(lambda: _is_under_way("Void", again))
    await again.cancel()
    alone.post.delays.clear()
    await until(lambda: _is_over("Void", again))

    async with carried_out(alone):
        assert await ending(again) == "CancelledError"

    assert await alone.state(name) == "compensated"
    assert await alone.money(name) == Account(100, {})


async def test_a_step_that_waits_for_others_does_not_begin_either(alone: Stage, name: str) -> None:
    alone.post.delays.add("HoldMoney")
    async with carried_out(alone):
        saga = await alone.tour(name, "one by one", options={"task_timeout": TASK})
        await until(lambda: _is_under_way("HoldMoney", saga))
    await saga.cancel()
    alone.post.delays.clear()
    await until(lambda: _is_over("HoldMoney", saga))

    # What a decision sends out is sent at the latest when it has taken that long.
    async with carried_out(alone, seconds=TASK.total_seconds() + 1):
        assert await ending(saga) == "CancelledError"

    assert not alone.company.authorized
    assert await alone.money(name) == Account(100, {})


async def _more_than(known: int, saga: Handle) -> bool:
    return await tasks(saga) > known


async def _is_under_way(what: str, saga: Handle) -> bool:
    pending = (await saga.describe()).raw_description.pending_activities
    return any(each.activity_type.name == what for each in pending)


async def _is_over(what: str, saga: Handle) -> bool:
    return not await _is_under_way(what, saga)


async def test_a_run_that_is_cancelled_although_another_one_has_passed_the_pivot_goes_forward(
    alone: Stage, name: str
) -> None:
    async with carried_out(alone):
        saga = await alone.tour(name, "hold", "pay", "wait", otherwise=["hold", "wait", "pay"])
        await alone.applied(name, "PayHeldMoney")
        again = await reset(alone, name)
        await alone.applied(name, "HoldMoney")
        await again.cancel()
        await until(lambda: _more_than(3, again))
        await again.signal("go_on")

        assert await ending(again) == "done"

    assert saga.id == again.id
    assert await alone.state(name) == "completed"
    assert (await alone.money(name)).available == 40


async def test_a_handler_that_fails_although_another_run_has_passed_the_pivot_is_reported_in_the_end(
    alone: Stage, name: str
) -> None:
    async with carried_out(alone):
        await alone.tour(name, "hold", "pay", "wait", otherwise=["hold", "wait", "pay"])
        await alone.applied(name, "PayHeldMoney")
        again = await reset(alone, name)
        await alone.applied(name, "HoldMoney")
        await again.signal("fail")
        await until(lambda: _more_than(3, again))
        await again.signal("go_on")

        assert await ending(again) == "SagaIncomplete"

    assert await alone.state(name) == "past the pivot"


async def test_a_run_that_turned_back_at_once_can_be_reset_while_it_undoes_what_an_earlier_run_did(
    alone: Stage, name: str
) -> None:
    """The last run replays how the one before took over what the first had done."""
    async with carried_out(alone):
        await alone.tour(name, "authorize", "hold", "wait")
        await alone.applied(name, "HoldMoney")
    again = await reset(alone, name)
    await again.cancel()
    alone.post.delays = {"Void"}

    async def is_half_undone() -> bool:
        steps = (await again.query("report"))["steps"]
        return [each["undo"] for each in steps] == ["running", "undone"]

    async with carried_out(alone):
        await until(is_half_undone)
        last = await reset(alone, name, last=True)
        alone.post.delays = set()

        assert await ending(last) == "CancelledError"

    assert await alone.state(name) == "compensated"
    assert await alone.money(name) == Account(100, {})
    assert alone.effects_left() == 0
