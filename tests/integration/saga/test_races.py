"""Sagas whose steps, failures, cancellations and decisions meet in unlucky order."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.worker import Worker

from counteract.saga import Resolution, SagaStatus
from tests.travel import races
from tests.travel.agency import Agency, fail, hang_until_cancelled, refuse, succeed, wait_for
from tests.travel.agency_sagas import (
    Handle,
    cancelled,
    compensated,
    completed,
    done,
    incomplete,
    lifecycle,
    reported,
    start_detour,
    until,
    until_logged,
    until_stuck,
    wrong_in_its_code,
)
from tests.travel.trips import Trip, TripRequest

pytestmark = pytest.mark.integration


async def paused(handle: Handle) -> bool:
    report: dict[str, Any] | None = await handle.query("report")
    return report is not None and bool(report["paused"])


# The pivot in flight while the saga's own code fails.


async def test_a_failure_beside_a_pivot_that_happens_undoes_nothing(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began))
    handle = await start_detour(agency, races.FailsBesideThePivot, trip)
    await began.wait()

    await handle.signal("go_on")
    await asyncio.sleep(0.3)
    release.set()

    await incomplete(agency, handle)
    assert done(agency, trip) == ["BookFlight", "ChargeCard"]
    assert lifecycle(agency, trip) == ["SagaStarted", "SagaStuck"]


async def test_a_failure_beside_a_pivot_that_is_refused_undoes_what_came_before(agency: Agency, trip: str) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began, refuse("no money")))
    handle = await start_detour(agency, races.FailsBesideThePivot, trip)
    await began.wait()

    await handle.signal("go_on")
    await asyncio.sleep(0.3)
    assert "CancelFlight" not in agency.log[trip], "an undo ran while the pivot was in flight"
    release.set()

    assert (await compensated(agency, handle)).cause == "changed my mind"
    assert done(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_a_pivot_that_waits_for_an_undo_does_not_begin_once_the_saga_is_being_undone(
    agency: Agency, trip: str
) -> None:
    undoing, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", fail("connection lost", final=True))
    agency.script(trip, "CancelHotel", wait_for(release, undoing))
    handle = await start_detour(agency, races.FailsBehindThePivot, trip)
    await undoing.wait()

    await handle.signal("go_on")
    await asyncio.sleep(0.3)
    release.set()
    await compensated(agency, handle)

    assert done(agency, trip) == ["CancelHotel"]


# Steps that begin, or end, when the saga no longer expects it.


async def test_a_step_that_waits_to_be_resumed_does_not_begin_once_the_saga_is_being_undone(
    agency: Agency, trip: str
) -> None:
    undoing, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "CancelFlight", wait_for(release, undoing))
    handle = await start_detour(agency, races.FailsWhilePaused, trip)
    await until_logged(agency, trip, "BookFlight done")
    await handle.signal("pause")
    await handle.signal("go_on")
    await undoing.wait()

    await handle.signal("resume")
    await asyncio.sleep(0.3)
    release.set()
    await compensated(agency, handle)

    assert done(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_a_saga_is_not_complete_while_a_task_of_its_own_sends_out_steps(agency: Agency, trip: str) -> None:
    release, began = asyncio.Event(), asyncio.Event()
    agency.script(trip, "BookHotel", wait_for(release, began))
    handle = await start_detour(agency, races.LeavesStepsBehind, trip)
    await began.wait()
    await asyncio.sleep(0.3)
    assert lifecycle(agency, trip) == ["SagaStarted"]

    release.set()
    await completed(agency, handle)

    assert done(agency, trip) == ["BookFlight", "BookHotel"]


async def test_a_refusal_in_a_task_group_undoes_the_saga(agency: Agency, trip: str) -> None:
    agency.script(trip, "BookHotel", refuse("fully booked"))

    report = await compensated(agency, await start_detour(agency, races.BooksInATaskGroup, trip))

    assert report.cause == f"fully booked (trip='{trip}')"
    assert [(step.step, step.undo) for step in report.steps] == [("BookFlight", "undone"), ("BookHotel", None)]


async def test_what_a_caught_refusal_of_parallel_steps_left_applied_is_undone_before_the_pivot(
    agency: Agency, trip: str
) -> None:
    flown = asyncio.Event()

    async def book_flight(command: Any, dispatch: Any) -> Any:
        flown.set()
        return await succeed(command, dispatch)

    async def refuse_afterwards(command: Any, dispatch: Any) -> Any:
        await flown.wait()
        await asyncio.sleep(0.2)
        return await refuse("fully booked")(command, dispatch)

    agency.script(trip, "BookFlight", book_flight)
    agency.script(trip, "BookHotel", refuse_afterwards)

    await completed(agency, await start_detour(agency, races.GoesOnAfterARefusal, trip))

    assert done(agency, trip) == ["BookFlight", "CancelFlight", "ChargeCard"]


async def test_a_step_that_answers_after_the_saga_gave_up_waiting_is_undone(agency: Agency, trip: str) -> None:
    async def answer_when_stopped(command: Any, dispatch: Any) -> Any:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return await succeed(command, dispatch)

    agency.script(trip, "BookHotel", answer_when_stopped)

    assert await completed(agency, await start_detour(agency, races.GivesUpWaiting, trip)) == "none"
    assert done(agency, trip) == ["BookHotel", "CancelHotel", "ChargeCard"]


# Cancellation and pausing that arrive early or late.


async def test_a_cancellation_while_the_start_is_being_recorded_is_not_lost(agency: Agency, trip: str) -> None:
    recording, release = asyncio.Event(), asyncio.Event()

    async def record(record: Any, _: Any) -> None:
        recording.set()
        await release.wait()

    agency.script(trip, "SagaStarted", record)
    # The server passes the cancellation on once the task that records has taken four fifths of its time.
    handle = await start_detour(agency, races.WaitsForASignal, trip, task_timeout=timedelta(seconds=1))
    await recording.wait()

    await handle.cancel()
    await asyncio.sleep(1.5)
    release.set()
    await cancelled(agency, handle)

    assert lifecycle(agency, trip) == ["SagaStarted", "SagaCompensated"]


async def test_a_cancellation_before_the_saga_is_opened_is_not_lost(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, races.PreparesFirst, trip)
    await until(lambda: _has_begun(handle))

    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    assert isinstance(failed.value.cause, CancelledError)
    assert lifecycle(agency, trip) == []


async def test_a_cancellation_that_waited_for_a_pivot_is_not_lost_when_its_refusal_is_caught(
    agency: Agency, trip: str
) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", wait_for(release, began, refuse("no money")))
    handle = await start_detour(agency, races.WaitsAfterARefusedPivot, trip)
    await began.wait()

    await handle.cancel()
    await asyncio.sleep(0.3)
    release.set()
    await cancelled(agency, handle)

    assert done(agency, trip) == ["BookFlight", "CancelFlight"]


async def test_a_saga_that_is_paused_before_it_begins_is_paused(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, races.LosesPatience, trip, start_signal="pause")
    await until(lambda: paused(handle))
    await asyncio.sleep(0.2)
    assert done(agency, trip) == []

    await handle.signal("resume")
    await completed(agency, handle)


# One saga, one run.


async def test_a_second_saga_in_a_new_run_says_that_it_cannot(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, races.StartsOver, trip)

    assert "start a new workflow for the next saga" in await wrong_in_its_code(agency.client.get_workflow_handle(trip))
    assert done(agency, trip) == ["BookFlight"]
    await agency.client.get_workflow_handle(handle.id).terminate()


async def test_a_saga_on_a_cron_schedule_says_that_it_cannot(agency: Agency, trip: str) -> None:
    handle = await start_detour(agency, races.LosesPatience, trip, cron_schedule="@every 1s")

    assert "Schedule" in await wrong_in_its_code(handle)
    assert done(agency, trip) == []
    await handle.terminate()


# Decisions on what merely goes on failing.


async def test_an_undo_that_goes_on_failing_can_be_skipped(agency: Agency, trip: str) -> None:
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelFlight", fail("down"))
    handle = await start_detour(agency, races.LosesPatience, trip)
    await until_stuck(handle)

    await handle.execute_update("resolve", Resolution(step="BookFlight", decision="skip", who="me", why="by phone"))
    report = await compensated(agency, handle)

    assert [step.undo for step in report.steps] == ["skipped", None]
    assert lifecycle(agency, trip) == ["SagaStarted", "SagaStuck", "SagaResolved", "SagaCompensated"]


async def test_a_step_that_goes_on_failing_and_then_succeeds_needs_no_decision(agency: Agency, trip: str) -> None:
    up = asyncio.Event()

    async def while_down(command: Any, dispatch: Any) -> Any:
        return await (succeed if up.is_set() else fail("down"))(command, dispatch)

    agency.script(trip, "SendTickets", while_down)
    handle = await start_detour(agency, races.LosesPatience, trip)
    await until_stuck(handle)

    up.set()
    await completed(agency, handle)

    assert (await reported(handle)).status is SagaStatus.COMPLETED
    assert not any(step.stuck for step in (await reported(handle)).steps)


async def test_a_step_that_hangs_is_stopped_when_somebody_decides_to_go_on_without_it(
    agency: Agency, trip: str
) -> None:
    hanging = asyncio.Event()
    agency.script(trip, "SendTickets", hang_until_cancelled(hanging))
    handle = await start_detour(agency, races.LosesPatience, trip)
    await until_stuck(handle)

    await handle.execute_update("resolve", Resolution(step="SendTickets", decision="skip", who="me", why="by post"))
    await completed(agency, handle)

    report = await reported(handle)
    assert report.status is SagaStatus.COMPLETED
    assert report.steps[-1].outcome == "not applied", "and will not be, should the order still come"
    assert report.steps[-1].skipped


# Nothing kept in the workers' memory.


async def test_a_saga_that_is_evicted_after_every_task_goes_on_as_if_it_had_not_been(
    agency: Agency, trip: str, caplog: pytest.LogCaptureFixture
) -> None:
    undoing, release = asyncio.Event(), asyncio.Event()
    agency.script(trip, "ChargeCard", refuse("no money"))
    agency.script(trip, "CancelHotel", fail("down"), wait_for(release, undoing))
    async with Worker(agency.client, task_queue=trip, workflows=[Trip], max_cached_workflows=0):
        request = TripRequest(trip=trip, flights=3)
        handle = await agency.client.start_workflow(Trip.run, request, id=trip, task_queue=trip)
        await undoing.wait()
        await handle.cancel()
        release.set()
        report = await compensated(agency, handle)

    assert [step.undo for step in report.steps] == ["undone", "undone", "undone", "undone", None]
    assert lifecycle(agency, trip) == ["SagaStarted", "SagaCompensated"]
    assert not [each for each in caplog.messages if "vict" in each or "activation" in each]


async def _has_begun(handle: Handle) -> bool:
    return await handle.query("report") is not None
