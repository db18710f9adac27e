"""What a person has decided stops activities in a workflow task of its own: else their saga could not be replayed (decision 0104)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowUpdateFailedError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

from counteract.lifecycle import RECORD_LIFECYCLE
from counteract.saga import Resolution, resolution
from counteract.testing import replay
from tests.protocol import domain
from tests.protocol.stage import Handle, Stage, ending, until
from tests.travel.bank import Account

pytestmark = pytest.mark.integration

WRITTEN = EventType.EVENT_TYPE_MARKER_RECORDED
TIMER = EventType.EVENT_TYPE_TIMER_FIRED
STOPPED = EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED


TASK = timedelta(seconds=2)
"""A worker that is busy with a local activity hears of what comes in when that time is nearly over."""


class SlowPen(Interceptor):
    """It takes its time to put on record that a step is stuck."""

    def __init__(self) -> None:
        self.seconds = 0.5
        self.begun = {"SagaStuck": asyncio.Event(), "SagaResolved": asyncio.Event()}

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        pen = self

        class Writing(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
                is_word = activity.info().activity_type == RECORD_LIFECYCLE
                if is_word and (begun := pen.begun.get(input.args[0].event_type)):
                    begun.set()
                    await asyncio.sleep(pen.seconds if begun is pen.begun["SagaStuck"] else 0)
                return await super().execute_activity(input)

        return Writing(next)


@pytest.fixture
def pen() -> SlowPen:
    return SlowPen()


@pytest.fixture
async def slow(stage: Stage, pen: SlowPen) -> AsyncIterator[Stage]:
    queue = f"decided-{uuid4().hex[:8]}"
    async with Worker(stage.client, task_queue=queue, workflows=domain.FLOWS, interceptors=[pen]):
        yield replace(stage, queue=queue)


async def test_a_step_that_is_to_fail_stops_its_siblings_in_a_task_of_its_own(stage: Stage, name: str) -> None:
    saga = await refused_beside_another(stage, name)
    await stage.stuck(name)

    await saga.execute_update("resolve", decided("Authorize", "fail"))

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    assert TIMER in between_the_last_word_and_the_stop(await events(saga))


async def test_nobody_is_asked_about_a_step_that_stops_for_another_one(stage: Stage, name: str) -> None:
    saga = await refused_beside_another(stage, name)
    await stage.stuck(name)

    await saga.execute_update("resolve", decided("Authorize", "fail"))

    assert await ending(saga) == "SagaCompensated"
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaStuck", "SagaResolved", "SagaCompensated"]


async def test_a_step_that_is_tried_on_is_stopped_in_a_task_of_its_own(stage: Stage, name: str) -> None:
    stage.post.delays = {"PayBack"}
    saga = await stage.tour(name, "pay", "pay back")
    await stage.stuck(name)

    await saga.execute_update("resolve", decided("PayBack", "retry"))
    await until(lambda: is_stopped(saga))
    stage.post.delays = set()

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 101
    assert TIMER in between_the_last_word_and_the_stop(await events(saga))


async def test_a_saga_that_is_asked_something_while_a_decision_is_put_on_record_replays(
    slow: Stage, pen: SlowPen, name: str
) -> None:
    """And the step that it is to stop ends in that moment."""
    saga = await refused_beside_another(slow, name)
    # Both come with one workflow task, once it is on record that the step is stuck.
    await pen.begun["SagaStuck"].wait()
    update = asyncio.create_task(saga.execute_update("resolve", decided("Authorize", "fail")))
    query = asyncio.create_task(saga.query("ponder"))
    await pen.begun["SagaResolved"].wait()
    slow.post.delays = set()

    await asyncio.gather(update, query)
    assert await ending(saga) == "SagaCompensated"
    await replay(await saga.fetch_history(), [domain.Tour])


async def test_a_question_that_has_become_moot_stops_the_siblings_in_a_task_of_its_own(
    slow: Stage, pen: SlowPen, name: str
) -> None:
    """The saga is cancelled, and told so, while it is put on record that the step is stuck; its code does not heed that at once."""
    pen.seconds = 3 * TASK.total_seconds()
    steps = ["leave a group behind", "wait in spite of all"]
    saga = await refused_beside_another(slow, name, *steps, task_timeout=TASK)
    await pen.begun["SagaStuck"].wait()
    await saga.cancel()
    await until(lambda: is_stopped(saga))
    await saga.signal("go_on")

    assert await ending(saga) == "CancelledError"
    assert TIMER in between_the_last_word_and_the_stop(await events(saga))


async def refused_beside_another(stage: Stage, name: str, *steps: str, **options: Any) -> Handle:
    """A saga with a step that was refused, which waits for a decision, and one that goes on meanwhile."""
    stage.company.declines = True
    stage.post.delays = {"HoldMoney"}
    return await stage.tour(name, *(steps or ["hold and authorize"]), parks=True, options=options)


def decided(step: str, decision: str) -> Resolution:
    return Resolution.model_validate({"step": step, "decision": decision, "who": "ann", "why": "it takes too long"})


async def events(saga: Handle) -> list[HistoryEvent]:
    return list((await saga.fetch_history()).events)


async def is_stopped(saga: Handle) -> bool:
    return any(each.event_type == STOPPED for each in await events(saga))


def between_the_last_word_and_the_stop(events: list[HistoryEvent]) -> list[EventType.ValueType]:
    """What happened between the last thing that was put on record before an activity was asked to stop, and that."""
    kinds = [each.event_type for each in events]
    before = kinds[: kinds.index(STOPPED)]
    return before[len(before) - before[::-1].index(WRITTEN) :]


async def test_a_question_that_is_moot_takes_no_answer(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saga is cancelled, and its step has yet to be told so: what was decided now would count for nothing."""
    monkeypatch.setattr(resolution, "in_a_task_of_its_own", lambda: asyncio.sleep(3))
    saga = await refused_beside_another(stage, name, "leave a group behind", "wait in spite of all")
    await stage.stuck(name)
    await saga.cancel()
    await until(lambda: _is_moot(saga))

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await saga.execute_update("resolve", decided("Authorize", "fail"))

    assert "no step 'Authorize' is stuck" in str(refused.value.cause)
    await saga.signal("go_on")
    assert await ending(saga) == "CancelledError"


async def _is_moot(saga: Handle) -> bool:
    """It waits for the task in which its step is told so."""
    timers = [each.timer_started_event_attributes.start_to_fire_timeout.seconds for each in await events(saga)]
    return 3 in timers
