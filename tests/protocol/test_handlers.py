"""Steps that the handlers of signals and updates send, when they come at the wrong time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from counteract.store import ANY
from tests.protocol.domain import Plan, Tour
from tests.protocol.stage import Handle, Stage, ending, failed_tasks, until
from tests.travel.bank import Account, Deposited, accounts

pytestmark = pytest.mark.integration


async def turning_back(stage: Stage, name: str) -> Handle:
    """A saga that is being undone, by a service that is slow at it."""
    saga = await stage.tour(name, "hold", "wait")
    await stage.applied(name, "HoldMoney")
    stage.post.delays = {"FreeMoney"}
    await saga.cancel()

    async def compensates() -> bool:
        return bool((await saga.query("report"))["status"] == "COMPENSATING")

    await until(compensates)
    return saga


async def were_asked_to_stop(saga: Handle) -> int:
    """How many steps."""
    return len(
        [
            each
            async for each in saga.fetch_history_events()
            if each.HasField("activity_task_cancel_requested_event_attributes")
        ]
    )


async def test_a_signals_step_while_the_saga_turns_back_is_not_sent(stage: Stage, name: str) -> None:
    saga = await turning_back(stage, name)

    await saga.signal("add", "authorize")
    stage.post.delays = set()

    assert await ending(saga) == "CancelledError"
    assert await failed_tasks(saga) == []
    assert await stage.money(name) == Account(100, {})
    assert not stage.company.authorized


async def test_an_updates_step_while_the_saga_turns_back_is_an_error_of_its_caller(stage: Stage, name: str) -> None:
    saga = await turning_back(stage, name)

    error = await refused(saga, "authorize")
    stage.post.delays = set()

    assert error.type == "SagaClosed"
    assert await ending(saga) == "CancelledError"
    assert await failed_tasks(saga) == []


async def test_a_step_that_comes_once_the_saga_is_over_is_an_error_of_its_caller(stage: Stage, name: str) -> None:
    plan = {"account": name, "steps": []}
    saga = await stage.client.start_workflow("Lingering", plan, id=name, task_queue=stage.queue)

    async def is_over() -> bool:
        report = await saga.query("report")
        return bool(report and report["status"] in ("COMPLETED", "COMPENSATED"))

    await until(is_over)

    assert (await refused(saga, "authorize")).type == "SagaClosed"
    await saga.signal("go_on")
    assert await ending(saga) == "done"
    assert await failed_tasks(saga) == []


async def test_a_step_that_can_be_undone_is_refused_past_the_pivot(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "pay", "wait")
    await stage.applied(name, "PayHeldMoney")

    error = await refused(saga, "authorize")
    await saga.signal("add", "authorize")
    await saga.signal("go_on")

    assert error.type == "SagaClosed"
    assert await ending(saga) == "done"
    assert await failed_tasks(saga) == []


async def test_a_step_that_must_succeed_can_come_by_a_signal_past_the_pivot(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "pay", "wait")
    await stage.applied(name, "PayHeldMoney")

    await saga.execute_update("add_now", "pay back")
    await saga.signal("go_on")

    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 101


async def test_the_pivot_waits_for_a_step_that_a_signal_has_set_going(stage: Stage, name: str) -> None:
    """It comes when it comes: that the saga's code is at its pivot by then is no mistake of its own."""
    stage.company.gate.clear()
    saga = await stage.tour(name, "hold", "wait", "pay")
    await stage.applied(name, "HoldMoney")
    await saga.signal("add", "authorize")
    async with asyncio.timeout(30):
        await stage.company.reached.wait()

    await saga.signal("go_on")
    await asyncio.sleep(0.3)
    stage.company.gate.set()

    assert await ending(saga) == "done"
    assert await failed_tasks(saga) == []
    assert len(stage.company.authorized) == 1


async def test_a_single_undo_that_comes_after_the_turn_becomes_one_of_the_turns(stage: Stage, name: str) -> None:
    stage.post.delays = {"Void"}
    saga = await stage.tour(name, "race", alert_after=60)
    await stage.applied(name, "HoldMoney#2")
    await saga.signal("go_on")

    async def has_turned() -> bool:
        return await stage.state(name) == "turning back"

    await until(has_turned)
    stage.post.delays = set()

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})
    assert stage.effects_left() == 0


async def test_a_signals_step_is_undone_with_the_saga(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", "refuse")
    await stage.applied(name, "HoldMoney")
    await saga.signal("add", "authorize")
    await stage.applied(name, "Authorize")

    await saga.signal("go_on")

    assert await ending(saga) == "SagaCompensated"
    assert stage.effects_left() == 0


async def test_a_refusal_reaches_the_updates_caller_and_the_saga_goes_on(stage: Stage, name: str) -> None:
    stage.company.declines = True
    saga = await stage.tour(name, "hold", "wait")
    await stage.applied(name, "HoldMoney")

    assert (await refused(saga, "authorize")).type == "Rejected"
    await saga.signal("go_on")

    assert await ending(saga) == "done"


async def at_its_end(saga: Handle) -> None:
    """Its code is through, and it waits for what is in flight."""

    async def is_through() -> bool:
        return bool(await saga.query("is_through"))

    await until(is_through)


async def test_a_refusal_that_comes_at_the_end_of_the_saga_reaches_the_updates_caller_alone(
    stage: Stage, name: str
) -> None:
    saga = await stage.tour(name, "hold", "wait", amounts=[60, 1_000_000])
    await stage.applied(name, "HoldMoney")
    stage.post.delays = {"HoldMoney"}
    update = asyncio.create_task(refused(saga, "hold"))
    await stage.begun(name, "HoldMoney#2")
    await saga.signal("go_on")
    await at_its_end(saga)

    stage.post.delays = set()

    assert (await update).type == "Rejected"
    assert await ending(saga) == "done"
    assert (await stage.money(name)).available == 40


async def test_a_refusal_that_comes_to_a_signal_at_the_end_of_the_saga_undoes_it(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "wait", amounts=[60, 1_000_000])
    await stage.applied(name, "HoldMoney")
    stage.post.delays = {"HoldMoney"}
    await saga.signal("add", "hold")
    await stage.begun(name, "HoldMoney#2")
    await saga.signal("go_on")
    await at_its_end(saga)

    stage.post.delays = set()

    assert await ending(saga) == "SagaCompensated"
    assert (await stage.money(name)).available == 100


async def test_a_cancellation_stops_what_a_saga_at_its_end_has_in_flight(stage: Stage, name: str) -> None:
    stage.company.gate.clear()
    saga = await stage.tour(name, "hold", "leave authorize behind")
    async with asyncio.timeout(30):
        await stage.company.reached.wait()
    await at_its_end(saga)

    await saga.cancel()

    assert await ending(saga) == "CancelledError"
    assert await were_asked_to_stop(saga) == 1
    assert await stage.money(name) == Account(100, {})


async def test_what_was_left_in_flight_and_fails_undoes_the_saga(stage: Stage, name: str) -> None:
    stage.company.declines = True
    saga = await stage.tour(name, "hold", "leave authorize behind")

    assert await ending(saga) == "SagaCompensated"
    assert await stage.money(name) == Account(100, {})


async def test_a_failure_that_a_left_task_catches_is_no_failure_of_the_saga(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "leave a tolerant hold behind", amounts=[1_000_000])

    assert await ending(saga) == "done"
    assert await stage.money(name) == Account(100, {})


async def test_the_pivot_of_a_left_task_does_not_begin_once_another_one_has_failed(stage: Stage, name: str) -> None:
    stage.company.gate.clear()
    stage.post.delays = {"HoldMoney"}
    saga = await stage.tour(
        name, "leave authorize and pay behind", "leave hold and authorize behind", amounts=[1_000_000]
    )
    await stage.begun(name, "HoldMoney")
    async with asyncio.timeout(30):
        await stage.company.reached.wait()
    await at_its_end(saga)

    stage.post.delays = set()
    await refused_it(saga, "HoldMoney")
    stage.company.gate.set()

    assert await ending(saga) == "SagaCompensated"
    assert stage.effects_left() == 0
    assert await stage.money(name) == Account(100, {})


async def test_a_paused_saga_does_not_end_before_its_tasks_have_gone_on(stage: Stage, name: str) -> None:
    stage.company.gate.clear()
    saga = await stage.tour(name, "leave authorize and hold behind")
    async with asyncio.timeout(30):
        await stage.company.reached.wait()
    await saga.signal("pause")
    await at_its_end(saga)
    stage.company.gate.set()
    await stage.applied(name, "Authorize")
    await asyncio.sleep(0.3)

    await saga.signal("resume")

    assert await ending(saga) == "done"
    assert (await stage.money(name)).held


async def test_what_a_signal_raises_past_the_pivot_is_not_forgotten_by_the_next_run(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "pay", "wait", "new run", "pay back")
    await stage.applied(name, "PayHeldMoney")

    await saga.signal("fail")
    await saga.signal("go_on")

    assert await ending(saga) == "SagaIncomplete"


async def refused_it(saga: Handle, step: str) -> None:
    async def is_refused() -> bool:
        steps = (await saga.query("report"))["steps"]
        return any(each["step"] == step and each["outcome"] == "not applied" for each in steps)

    await until(is_refused)


async def test_what_a_signal_raises_past_the_pivot_is_not_swallowed(stage: Stage, name: str) -> None:
    saga = await stage.tour(name, "hold", "pay", "wait")
    await stage.applied(name, "PayHeldMoney")

    await saga.signal("fail")
    await saga.signal("go_on")

    assert await ending(saga) == "SagaIncomplete"
    assert await stage.state(name) == "past the pivot"


async def refused(saga: Handle, step: str) -> ApplicationError:
    """What the caller of an update is told."""
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await saga.execute_update("add_now", step)
    error: Any = failed.value.cause
    assert isinstance(error, ApplicationError)
    return error


async def test_a_signals_step_that_comes_while_the_saga_is_opened_is_held_against_its_record(
    stage: Stage, name: str
) -> None:
    """The store takes its time, so that the signal comes first."""
    async with stage.store.connection() as connection, connection.transaction():
        await connection.execute("lock table sagas in exclusive mode")
        saga = await stage.tour(name, "wait")
        await asyncio.sleep(1)
        await saga.signal("add", "hold")
        # The server tells a worker of it that is busy with a local activity once its task has taken long.
        await asyncio.sleep(13)
    await stage.applied(name, "HoldMoney")

    assert await stage.sql("select epoch from commands where saga_id = %s", name) == [(1,)]
    await saga.signal("go_on")
    assert await ending(saga) == "done"


async def test_a_saga_that_is_stopped_as_its_code_comes_to_its_end_is_undone(stage: Stage, name: str) -> None:
    """Its block waits for nothing: what stops it reaches it as it looks whether each step has begun that was asked for."""
    await stage.store.append(accounts.stream(name), [Deposited(amount=100)], expect=ANY)
    plan = Plan(account=name, steps=["leave hold behind, and end"])
    saga = await stage.client.start_workflow(
        Tour.run, plan, id=name, task_queue=stage.queue, start_signal="fail_at_once"
    )

    assert await ending(saga) == "SagaCompensated"
    assert await stage.state(name) == "compensated"
