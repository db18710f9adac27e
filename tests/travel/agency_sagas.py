"""Starts the agency's sagas and follows them to their end, which is on record exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes, HistoryEvent
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from counteract import Resolution, SagaReport, SagaStatus
from tests.travel.agency import Agency
from tests.travel.races import Detour
from tests.travel.trips import Trip, TripRequest

SAGAS = "trips"
"""The task queue of the agency's sagas."""
Handle = WorkflowHandle[Any, Any]


async def start(agency: Agency, trip: str, **request: Any) -> Handle:
    return await agency.client.start_workflow(Trip.run, TripRequest(trip=trip, **request), id=trip, task_queue=SAGAS)


async def start_detour(agency: Agency, detour: type[Detour], trip: str, *more: Any, **options: Any) -> Handle:
    return await agency.client.start_workflow(detour.__name__, args=[trip, *more], id=trip, task_queue=SAGAS, **options)


# How it ends.


async def completed(agency: Agency, handle: Handle) -> Any:
    """The result of a saga that got to its end."""
    async with asyncio.timeout(15):
        result = await handle.result()
    assert (await reported(handle)).status is SagaStatus.COMPLETED
    assert ends(agency, handle.id) == ["SagaCompleted"]
    return result


async def compensated(agency: Agency, handle: Handle) -> SagaReport:
    """The report that the failure of a compensated saga carries."""
    error = await failed(handle)
    assert error.type == "SagaCompensated", error
    assert ends(agency, handle.id) == ["SagaCompensated"]
    return SagaReport.model_validate(error.details[0])


async def cancelled(agency: Agency, handle: Handle) -> SagaReport:
    """The report of a saga that was undone because it was cancelled."""
    with pytest.raises(WorkflowFailureError) as caught:
        async with asyncio.timeout(15):
            await handle.result()
    assert isinstance(caught.value.cause, CancelledError), caught.value.cause
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    assert ends(agency, handle.id) == ["SagaCompensated"]
    report = await reported(handle)
    assert report.status is SagaStatus.COMPENSATED
    return report


async def incomplete(agency: Agency, handle: Handle) -> ApplicationError:
    """The failure of a saga whose own code failed past its pivot: it has not ended, as far as the record says."""
    error = await failed(handle)
    assert error.type == "SagaIncomplete", error
    assert ends(agency, handle.id) == []
    assert lifecycle(agency, handle.id)[-1] == "SagaStuck"
    return error


async def failed(handle: Handle) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        async with asyncio.timeout(15):
            await handle.result()
    assert isinstance(caught.value.cause, ApplicationError), caught.value.cause
    return caught.value.cause


# What was asked of the services, and what is on record.


def calls(agency: Agency, trip: str) -> list[str]:
    return [line for line in agency.log[trip] if not line.endswith(" done")]


def done(agency: Agency, trip: str) -> list[str]:
    return [line.removesuffix(" done") for line in agency.log[trip] if line.endswith(" done")]


def lifecycle(agency: Agency, trip: str) -> list[str]:
    """Each event once: a write that is repeated has the same id, and a store keeps the first."""
    return list({record.event_id: record.event_type for record in agency.lifecycle[trip]}.values())


def ends(agency: Agency, trip: str) -> list[str]:
    """The terminal events of a saga that began once."""
    record = lifecycle(agency, trip)
    assert record.count("SagaStarted") == 1, record
    return [event for event in record if event in ("SagaCompleted", "SagaCompensated")]


# While it is under way.


async def reported(handle: Handle) -> SagaReport:
    report: SagaReport = await handle.query("report", result_type=SagaReport)
    return report


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 - what is awaited happens in a server
            await asyncio.sleep(0.02)


async def until_logged(agency: Agency, trip: str, line: str) -> None:
    async def logged() -> bool:
        return line in agency.log[trip]

    await until(logged)


async def until_recorded(agency: Agency, trip: str, event: str = "SagaStarted") -> None:
    async def recorded() -> bool:
        return event in lifecycle(agency, trip)

    await until(recorded)


async def until_stuck(handle: Handle) -> None:
    async def stuck() -> bool:
        return (await reported(handle)).status is SagaStatus.STUCK

    await until(stuck)


async def until_interrupted(handle: Handle) -> None:
    """The cancellation, or the deadline, has come to the saga's notice."""

    async def interrupted() -> bool:
        return (await reported(handle)).cause is not None

    await until(interrupted)


async def resolve(handle: Handle, step: str, decision: Any, **more: Any) -> None:
    await handle.execute_update("resolve", Resolution(step=step, decision=decision, who="me", why="so", **more))


async def wrong_in_its_code(handle: Handle) -> str:
    """What the failing workflow tasks of a saga that breaks a rule say."""
    async with asyncio.timeout(10):
        while True:
            async for event in handle.fetch_history_events():
                attributes = event.workflow_task_failed_event_attributes
                if attributes.failure.message:
                    return str(attributes.failure.message)
            await asyncio.sleep(0.05)


# What the server has on record.


async def history(handle: Handle) -> list[HistoryEvent]:
    return list((await handle.fetch_history()).events)


async def scheduled(handle: Handle) -> dict[str, ActivityTaskScheduledEventAttributes]:
    """The activities of a saga by their ids, in the order in which they were scheduled."""
    attributes = [event.activity_task_scheduled_event_attributes for event in await history(handle)]
    return {each.activity_id: each for each in attributes if each.activity_id}


@dataclass(frozen=True)
class Span:
    """From when to when an activity ran, in the numbers of the history's events."""

    ordered: int
    """The workflow task that decided on it."""
    scheduled: int
    ended: int


async def spans(handle: Handle, prefix: str) -> dict[str, Span]:
    """Of the activities whose ids begin so."""
    begun: dict[int, ActivityTaskScheduledEventAttributes] = {}
    found = {}
    for event in await history(handle):
        if event.HasField("activity_task_scheduled_event_attributes"):
            begun[event.event_id] = event.activity_task_scheduled_event_attributes
        for end in ("completed", "failed", "timed_out", "canceled"):
            if event.HasField(f"activity_task_{end}_event_attributes"):  # type: ignore[arg-type]
                number = getattr(event, f"activity_task_{end}_event_attributes").scheduled_event_id
                start = begun[number]
                found[start.activity_id] = Span(start.workflow_task_completed_event_id, number, event.event_id)
    return {activity_id: span for activity_id, span in found.items() if activity_id.startswith(prefix)}
