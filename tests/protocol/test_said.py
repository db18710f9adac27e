"""What is said of a saga is so: its record, its events, its report, and what its workflow ends with."""

from __future__ import annotations

from typing import Any

import pytest

from counteract.lifecycle import SagaCompensated, SagaCompleted, sagas
from counteract.saga import Resolution
from tests.protocol.domain import Plan, Unopened
from tests.protocol.stage import Handle, Stage, ending, until
from tests.travel.bank import Account

pytestmark = pytest.mark.integration


async def completed(stage: Stage, name: str) -> SagaCompleted:
    """The saga's last event."""
    *_, last = await stage.store.read_stream(sagas.stream(name))
    return SagaCompleted.model_validate_json(last.data)


async def test_a_skipped_step_is_not_among_those_that_were_carried_out(stage: Stage, name: str) -> None:
    stage.company.declines = True
    saga = await stage.tour(name, "hold", "authorize", "pay", parks=True)
    await stage.stuck(name)
    result = {"reference": "by hand"}

    await saga.execute_update(
        "resolve", Resolution(step="Authorize", decision="skip", who="ann", why="by hand", result=result)
    )

    assert await ending(saga) == "done"
    assert (await completed(stage, name)).steps == ("HoldMoney", "PayHeldMoney")
    report = await saga.query("report")
    assert [each["skipped"] for each in report["steps"]] == [False, True, False]


async def test_a_skipped_undo_is_on_record(stage: Stage, name: str) -> None:
    stage.post.loses_orders = {"Void"}
    saga = await stage.tour(name, "hold", "authorize", "refuse")
    await stage.stuck(name)

    await saga.execute_update("resolve", Resolution(step="Authorize", decision="skip", who="ann", why="by hand"))

    assert await ending(saga) == "SagaCompensated"
    *_, last = await stage.store.read_stream(sagas.stream(name))
    assert SagaCompensated.model_validate_json(last.data).skipped == ("Authorize",)


async def test_a_pivot_that_was_settled_as_happened_does_not_show_as_undone(stage: Stage, name: str) -> None:
    stage.post.loses_answers = {"Capture"}
    saga = await stage.tour(name, "capture")

    assert await ending(saga) == "done"
    report = await saga.query("report")
    assert [(each["outcome"], each["undo"]) for each in report["steps"]] == [("applied", None)]


async def test_a_saga_that_is_cancelled_after_its_end_does_not_end_as_cancelled(stage: Stage, name: str) -> None:
    plan = Plan(account=name, steps=["authorize"])
    saga = await stage.client.start_workflow("Lingering", plan, id=name, task_queue=stage.queue)

    async def is_over() -> bool:
        report = await saga.query("report")
        return bool(report and report["status"] == "COMPLETED")

    await until(is_over)
    await saga.cancel()
    await saga.signal("go_on")

    assert await ending(saga) == "done"
    assert stage.effects_left() == 1


async def test_a_forgotten_await_is_an_error_and_no_end(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "forget")

    assert "write `await`" in await _task_failure(saga)
    assert await stage.state(name) == "forward"
    await saga.terminate()


async def test_a_step_outside_of_an_opened_saga_is_an_error(stage: Stage, name: str) -> None:
    plan = Plan(account=name, steps=[])
    saga = await stage.client.start_workflow(Unopened.run, plan, id=name, task_queue=stage.queue)

    assert "open the saga first" in await _task_failure(saga)
    await saga.terminate()


async def test_an_undo_may_take_as_long_as_its_call_allowed_the_step(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "patient render", "refuse", alert_after=10)

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    assert await stage.lifecycle(name) == ["SagaStarted", "SagaCompensated"]


async def _task_failure(saga: Any) -> str:
    """Why the saga's workflow task fails, again and again."""
    said: list[str] = []

    async def has_failed() -> bool:
        async for each in saga.fetch_history_events():
            if each.HasField("workflow_task_failed_event_attributes"):
                said.append(each.workflow_task_failed_event_attributes.failure.message)
        return bool(said)

    await until(has_failed)
    return said[0]


async def test_code_that_was_no_longer_to_wait_for_a_pivot_is_told_that_it_took_effect(stage: Stage, name: str) -> None:
    """A timeout of the code's own ends while the pivot is under way: it cannot be called off any more."""
    stage.post.delays = {"Capture"}
    saga = await stage.tour(name, "hold", "impatient capture", "receipt")
    await until(lambda: _is_impatient(saga))
    stage.post.delays.clear()

    assert await ending(saga) == "done"
    assert stage.company.captured


async def test_a_pivot_that_took_too_long_and_was_refused_did_not_take_effect(stage: Stage, name: str) -> None:
    stage.post.delays = {"Capture"}
    saga = await stage.tour(name, "hold", "impatient capture", "receipt")
    await until(lambda: _is_impatient(saga))
    stage.post.loses_orders = {"Capture"}
    stage.post.delays.clear()

    assert await ending(saga) == "SagaCompensated"
    assert not stage.company.captured


async def _is_impatient(saga: Handle) -> bool:
    """The time is up that its code gives the pivot."""
    return any(each.HasField("timer_fired_event_attributes") for each in (await saga.fetch_history()).events)
