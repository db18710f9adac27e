"""What comes before a run that continues a saga has opened it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio.common import RetryPolicy

from tests.protocol.domain import Late
from tests.protocol.stage import Handle, Stage, ending, until
from tests.travel.bank import Account

pytestmark = pytest.mark.integration


async def late(stage: Stage, name: str, *steps: str, **more: Any) -> Handle:
    """A tour that has held its money, and waits."""
    saga = await stage.tour(name, "hold", "wait", *steps, flow=Late, **more)
    await stage.applied(name, "HoldMoney")
    # Of whichever run is the last.
    return stage.handle(saga.id)


async def retried(stage: Stage, name: str, *steps: str) -> Handle:
    """Its next run has been begun anew, in the midst of the last of these steps, and waits before it opens its saga."""
    stage.post.delays |= {"PayBack" if steps[-1] == "pay back" else "PayHeldMoney"}
    twice = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=50))
    options = {"retry_policy": twice, "run_timeout": timedelta(seconds=6)}
    saga = await late(stage, name, "new run", *steps, options=options)
    await next_run(saga)
    await saga.signal("go_on")
    await until(lambda: _is_again(saga))
    return saga


async def next_run(saga: Handle) -> None:
    """Told to go on, it continues as new."""
    last = (await saga.describe()).run_id
    await saga.signal("go_on")

    async def is_there() -> bool:
        return (await saga.describe()).run_id != last

    await until(is_there)


async def test_a_saga_that_was_paused_is_resumed_before_its_next_run_opens_it(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "pay")
    await saga.signal("pause")
    await next_run(saga)

    await saga.signal("resume")
    await saga.signal("go_on")

    assert await ending(saga) == "done"


async def test_a_pause_that_is_said_again_counts(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "pay")
    await saga.signal("pause")
    await next_run(saga)

    await saga.signal("resume")
    await saga.signal("pause")
    await saga.signal("go_on")

    await until(lambda: _is_paused(saga))
    await saga.signal("resume")
    assert await ending(saga) == "done"


async def _is_paused(saga: Handle) -> bool:
    report = await saga.query("report")
    return report is not None and report["paused"]


async def test_a_run_that_is_cancelled_before_it_opens_its_saga_undoes_it(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "pay")
    await next_run(saga)

    await saga.cancel()

    assert await ending(saga) == "CancelledError"
    assert await stage.money(name) == Account(100, {})
    assert await stage.state(name) == "compensated"
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompensated"]


async def test_a_run_that_fails_before_it_opens_its_saga_undoes_it(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "fail early")
    await next_run(saga)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})


async def test_a_run_whose_signal_fails_before_it_opens_its_saga_undoes_it(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "pay")
    await next_run(saga)

    await saga.signal("fail")

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})


async def test_a_run_that_catches_its_cancellation_before_it_opens_its_saga_undoes_it(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "pay", polite=True)
    await next_run(saga)

    await saga.cancel()

    assert await ending(saga) == "CancelledError"
    assert await stage.money(name) == Account(100, {})


async def test_a_run_that_returns_without_its_saga_waits_for_corrected_code(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "return early")
    await next_run(saga)

    await saga.signal("go_on")

    await until(lambda: _has_failed(saga, "the workflow returns without the saga that its run before has begun"))
    assert await stage.state(name) == "forward"
    await saga.terminate()


async def test_past_its_pivot_a_saga_goes_on_that_is_cancelled_before_it_is_opened(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "pay", "new run", "pay back")
    await next_run(saga)

    await saga.cancel()
    await saga.signal("go_on")

    assert await ending(saga) == "done"
    assert await stage.state(name) == "completed"


async def test_a_retry_that_is_cancelled_before_it_opens_its_saga_goes_on_where_the_attempt_before_has_passed_the_pivot(
    stage: Stage, name: str
) -> None:
    saga = await retried(stage, name, "pay", "pay back")
    stage.post.delays.clear()

    await saga.cancel()
    await until(lambda: _has_asked(saga))
    await saga.signal("go_on")

    assert await ending(saga) == "done"
    assert await stage.state(name) == "completed"


async def test_a_retry_that_is_cancelled_before_it_opens_its_saga_stops_at_once_before_the_pivot(
    stage: Stage, name: str
) -> None:
    saga = await retried(stage, name, "authorize", "pay")
    stage.post.delays.clear()

    await saga.cancel()

    assert await ending(saga) == "CancelledError"
    assert await stage.money(name) == Account(100, {})
    assert stage.effects_left() == 0


async def test_past_its_pivot_a_saga_whose_run_fails_before_it_opens_it_is_stuck(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "pay", "new run", "fail early")
    await next_run(saga)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaIncomplete"
    assert await stage.state(name) == "past the pivot"


async def test_a_retry_of_a_run_that_continues_a_saga_undoes_it_where_it_does_not_open_it(
    stage: Stage, name: str
) -> None:
    twice = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=50))
    options = {"retry_policy": twice, "run_timeout": timedelta(seconds=4)}
    saga = await late(stage, name, "new run", "fail early", options=options)
    await next_run(saga)
    await until(lambda: _is_again(saga))

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})


async def test_a_saga_is_handed_on_by_a_run_that_does_not_open_it(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "another run", "hold", "refuse", amounts=[60, 30])
    await next_run(saga)
    await next_run(saga)

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    assert await stage.sql("select step from commands where saga_id = %s and undoes is null order by 1", name) == [
        ("HoldMoney",),
        ("HoldMoney#2",),
    ]


async def test_a_pause_is_handed_on_by_a_run_that_does_not_open_its_saga(stage: Stage, name: str) -> None:
    saga = await late(stage, name, "new run", "another run", "pay")
    await next_run(saga)
    await saga.signal("pause")
    await next_run(saga)

    await saga.signal("go_on")

    await until(lambda: _is_paused(saga))
    await saga.signal("resume")
    assert await ending(saga) == "done"


async def _has_failed(saga: Handle, why: str) -> bool:
    """A decision of its."""
    events = (await saga.fetch_history()).events
    failures = [each.workflow_task_failed_event_attributes.failure.message for each in events]
    return any(why in each for each in failures)


async def _has_asked(saga: Handle) -> bool:
    """What its record says."""
    events = (await saga.fetch_history()).events
    return any(each.HasField("marker_recorded_event_attributes") for each in events)


async def _is_again(saga: Handle) -> bool:
    """Its workflow is tried anew."""
    first = (await saga.fetch_history()).events[0]
    return first.workflow_execution_started_event_attributes.attempt == 2
