"""A saga as a step of another: it undoes itself, or is undone as a whole, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from counteract.errors import SagaMisuse
from counteract.lifecycle import SagaStarted, sagas
from counteract.saga import SagaReport
from counteract.saga.children import child_saga
from tests.travel.bank import Account, HoldMoney, PayBack
from tests.travel.bank_sagas import Outing, OutingRequest
from tests.travel.parent_saga import Holiday, HolidayRequest, outing_of
from tests.travel.world import World

pytestmark = pytest.mark.integration

UNTOUCHED = Account(100, {})
TOO_MUCH = 1000
Handle = WorkflowHandle[Holiday, list[str]]


async def start(world: World, trip: str, **request: Any) -> Handle:
    wanted = HolidayRequest(account="ann", trip=trip, **request)
    return await world.client.start_workflow(Holiday.run, wanted, id=trip, task_queue=world.queue)


async def start_and_stay_in_the_outing(world: World, trip: str) -> Handle:
    world.company.gate.clear()
    handle = await start(world, trip)
    async with asyncio.timeout(10):
        await world.company.reached.wait()
    return handle


async def failure(handle: WorkflowHandle[Any, Any]) -> BaseException | None:
    with pytest.raises(WorkflowFailureError) as caught:
        async with asyncio.timeout(15):
            await handle.result()
    return caught.value.cause


async def undone(handle: Handle) -> SagaReport:
    cause = await failure(handle)
    assert isinstance(cause, ApplicationError), cause
    assert cause.type == "SagaCompensated", cause
    return SagaReport.model_validate(cause.details[0])


async def recover(world: World) -> None:
    await world.client.execute_workflow("RecoverSagas", id=f"recover-{uuid4().hex[:8]}", task_queue=world.queue)


async def recovered(world: World, saga_id: str) -> SagaReport:
    await recover(world)
    (started, *_) = await world.store.read_stream(sagas.stream(saga_id))
    run_id = SagaStarted.model_validate_json(started.data).run_id
    handle = world.client.get_workflow_handle(f"recover {saga_id} {run_id}", result_type=SagaReport)
    async with asyncio.timeout(15):
        report: SagaReport = await handle.result()
    return report


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


def outcomes(report: SagaReport) -> list[tuple[str, str | None, str | None]]:
    return [(each.step, each.outcome, each.undo) for each in report.steps]


async def test_a_child_saga_is_a_step_like_any_other(world: World, trip: str) -> None:
    handle = await start(world, trip)

    assert await handle.result() == ["HoldMoney", "Outing", "HoldMoney#2"]
    assert await world.account() == Account(20, {f"{trip} before": 10, f"{trip} after": 10})
    assert await world.lifecycle(outing_of(trip)) == ["SagaStarted", "SagaCompleted"]


async def test_a_child_that_has_completed_is_undone_by_its_compensation(world: World, trip: str) -> None:
    report = await undone(await start(world, trip, extra=TOO_MUCH))

    assert outcomes(report) == [
        ("HoldMoney", "applied", "undone"),
        ("Outing", "applied", "undone"),
        ("HoldMoney#2", "not applied", None),
    ]
    assert await world.account() == UNTOUCHED
    assert await world.lifecycle(outing_of(trip)) == ["SagaStarted", "SagaCompleted"]


async def test_a_child_that_undid_itself_is_a_refusal_and_is_not_undone_again(world: World, trip: str) -> None:
    report = await undone(await start(world, trip, amount=TOO_MUCH))

    assert outcomes(report) == [("HoldMoney", "applied", "undone"), ("Outing", "not applied", None)]
    assert str(report.cause).startswith("the saga was undone: not enough money")
    assert await world.account() == UNTOUCHED


async def test_cancellation_reaches_a_child_that_is_under_way(world: World, trip: str) -> None:
    handle = await start_and_stay_in_the_outing(world, trip)

    await handle.cancel()
    async with asyncio.timeout(10):
        await world.company.stopped.wait()
    world.company.gate.set()

    assert isinstance(await failure(handle), CancelledError)
    assert await world.account() == UNTOUCHED
    assert await world.lifecycle(outing_of(trip)) == ["SagaStarted", "SagaCompensated"]
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompensated"]


async def test_a_terminated_child_is_waited_for_until_it_is_recovered(world: World, trip: str) -> None:
    handle = await start_and_stay_in_the_outing(world, trip)

    await world.client.get_workflow_handle(outing_of(trip)).terminate("by a person")
    world.company.gate.set()
    await until(lambda: _compensating(handle))
    assert f"{trip} before" in (await world.account()).held, "what came before is not undone before the child is"
    await recovered(world, outing_of(trip))
    report = await undone(handle)

    assert outcomes(report) == [("HoldMoney", "applied", "undone"), ("Outing", "not applied", "undone")]
    assert await world.account() == UNTOUCHED


async def test_the_recovery_of_a_parent_undoes_a_child_that_has_completed(world: World, trip: str) -> None:
    handle = await start(world, trip, nap=60)
    await until(lambda: _has_ended(world, outing_of(trip)))
    await handle.terminate("by a person")

    report = await recovered(world, trip)

    assert outcomes(report) == [("HoldMoney", "unknown", "undone"), ("Outing", "applied", "undone")]
    assert await world.account() == UNTOUCHED


async def test_a_child_whose_parent_is_terminated_undoes_itself(world: World, trip: str) -> None:
    handle = await start_and_stay_in_the_outing(world, trip)
    await handle.terminate("by a person")
    # The server tells the child in its own time.
    await until(lambda: _is_to_be_cancelled(world, outing_of(trip)))
    world.company.gate.set()
    await until(lambda: _has_ended(world, outing_of(trip)))

    report = await recovered(world, trip)

    assert outcomes(report) == [("HoldMoney", "unknown", "undone")], "nothing is left of the child"
    assert await world.account() == UNTOUCHED


async def test_a_child_of_an_earlier_run_is_undone_by_a_later_one(world: World, trip: str) -> None:
    report = await undone(await start(world, trip, runs=2, extra=TOO_MUCH))

    assert [each.step for each in report.steps if each.undo == "undone"] == ["HoldMoney", "Outing"]
    assert await world.account() == UNTOUCHED


async def test_what_a_run_before_the_last_sent_is_recovered_too(world: World, trip: str) -> None:
    handle = await start(world, trip, runs=2, nap=60)
    first = handle.first_execution_run_id
    await until(lambda: _is_in_another_run(world, trip, first))
    await world.client.get_workflow_handle(trip).terminate("by a person")

    report = await recovered(world, trip)

    assert [each.step for each in report.steps] == ["HoldMoney", "Outing"]
    assert await world.account() == UNTOUCHED


async def test_a_workflow_of_somebody_elses_is_not_touched(world: World, trip: str) -> None:
    world.company.gate.clear()
    request = OutingRequest(account="ann", trip="elsewhere", amount=30)
    other = await world.client.start_workflow(Outing.run, request, id=outing_of(trip), task_queue=world.queue)
    async with asyncio.timeout(10):
        await world.company.reached.wait()

    report = await undone(await start(world, trip))
    world.company.gate.set()
    await other.result()

    assert outcomes(report) == [("HoldMoney", "applied", "undone"), ("Outing", "not applied", "undone")]
    assert await world.account() == Account(70, {})


def test_only_a_saga_can_be_a_child() -> None:
    async def run(self: Any, request: Any) -> None: ...

    with pytest.raises(SagaMisuse, match="is not the run method of a SagaWorkflow"):
        child_saga(run, "outing", PayBack(account="ann", amount=1))


def test_what_undoes_a_child_cannot_be_refused() -> None:
    with pytest.raises(SagaMisuse, match="must be Retriable"):
        child_saga(Outing.run, "outing", HoldMoney(account="ann", trip="t", amount=1))


async def _compensating(handle: Handle) -> bool:
    report: SagaReport | None = await handle.query("report", result_type=SagaReport)
    return report is not None and report.status in ("COMPENSATING", "STUCK")


async def _is_to_be_cancelled(world: World, saga_id: str) -> bool:
    history = await world.client.get_workflow_handle(saga_id).fetch_history()
    return any(event.HasField("workflow_execution_cancel_requested_event_attributes") for event in history.events)


async def _has_ended(world: World, saga_id: str) -> bool:
    return bool({"SagaCompleted", "SagaCompensated"} & set(await world.lifecycle(saga_id)))


async def _is_in_another_run(world: World, trip: str, first: str | None) -> bool:
    return (await world.client.get_workflow_handle(trip).describe()).run_id != first
