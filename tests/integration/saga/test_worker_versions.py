"""Sagas in flight while their code changes: pinned to their version, and without versions."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError
from temporalio.worker import Worker

from counteract.dev import EmbeddedTemporal
from counteract.lifecycle import LostSaga, LostStep
from counteract.saga import SagaReport, SagaStatus
from counteract.testing import replay
from tests.travel.agency import Agency, refuse, wait_for
from tests.travel.changed_sagas import ForgetsTheHotel, HotelFirst, HotelFirstFromNowOn
from tests.travel.trips import Trip, TripRequest
from worker import pinned_to

pytestmark = [pytest.mark.integration, pytest.mark.program]

TEMPORAL = Path(sys.executable).with_name("temporal")
FLIGHT_FIRST = ["BookFlight", "BookHotel", "ChargeCard", "SendTickets"]
HOTEL_FIRST = ["BookHotel", "BookFlight", "ChargeCard", "SendTickets"]


@dataclass
class Office:
    """Sends trips to a task queue of its own, whose workers come and go."""

    agency: Agency
    address: str
    name: str

    @asynccontextmanager
    async def worker(self, saga: type, build_id: str | None = None) -> AsyncIterator[None]:
        version = pinned_to(WorkerDeploymentVersion(self.name, build_id)) if build_id else None
        async with Worker(
            self.agency.client,
            task_queue=self.name,
            workflows=[saga],
            deployment_config=version,
            graceful_shutdown_timeout=timedelta(seconds=1),
        ):
            yield

    async def start(self, trip: str) -> WorkflowHandle[Trip, list[str]]:
        return await self.agency.client.start_workflow(
            Trip.run, TripRequest(trip=trip), id=trip, task_queue=self.name, task_timeout=timedelta(seconds=2)
        )

    async def temporal(self, *command: str) -> Any:
        """The answer of Temporal's own command line."""
        words = [str(TEMPORAL), *command, "--address", self.address, "--output", "json"]
        run = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout or "null")

    async def make_current(self, build_id: str) -> None:
        """Before its workers, if need be."""
        options = ("--deployment-name", self.name, "--build-id", build_id, "--allow-no-pollers", "--yes")
        await self.temporal("worker", "deployment", "set-current-version", *options)

    async def drainage(self, build_id: str) -> str:
        options = ("--deployment-name", self.name, "--build-id", build_id)
        version = await self.temporal("worker", "deployment", "describe-version", *options)
        return str(version["drainageInfo"]["drainageStatus"])

    async def move(self, trip: str, build_id: str) -> None:
        target = ("--versioning-override-deployment-name", self.name, "--versioning-override-build-id", build_id)
        behaviour = ("--versioning-override-behavior", "pinned", *target)
        await self.temporal("workflow", "update-options", "--workflow-id", trip, *behaviour)

    def done(self, trip: str) -> list[str]:
        """Once for each step, however often the server delivered it."""
        ended = [line.removesuffix(" done") for line in self.agency.log[trip] if line.endswith(" done")]
        return list(dict.fromkeys(ended))


@pytest.fixture
def office(agency: Agency, temporal: EmbeddedTemporal) -> Office:
    return Office(agency, temporal.address, f"office-{uuid4().hex[:8]}")


@pytest.fixture
def gate(agency: Agency, trip: str) -> Gate:
    return Gate(agency, trip)


class Gate:
    """Holds the trip within its second step."""

    def __init__(self, agency: Agency, trip: str) -> None:
        self._reached, self._opened = asyncio.Event(), asyncio.Event()
        agency.script(trip, "BookHotel", wait_for(self._opened, self._reached))

    async def reached(self) -> None:
        async with asyncio.timeout(10):
            await self._reached.wait()

    def open(self) -> None:
        self._opened.set()


async def test_a_saga_stays_with_the_version_that_began_it_while_another_takes_the_new_ones(
    office: Office, trip: str, gate: Gate
) -> None:
    await office.make_current("v1")
    async with office.worker(Trip, "v1"), office.worker(HotelFirst, "v2"):
        old = await office.start(trip)
        await gate.reached()

        await office.make_current("v2")
        new = await office.start(f"{trip}-new")
        await new.result()
        gate.open()
        await old.result()

    assert office.done(trip) == FLIGHT_FIRST
    assert office.done(new.id) == HOTEL_FIRST
    assert [await version_of(each) for each in (old, new)] == ["v1", "v2"]


async def test_a_saga_is_undone_by_the_version_that_began_it(office: Office, trip: str, gate: Gate) -> None:
    office.agency.script(trip, "ChargeCard", refuse("no money"))
    await office.make_current("v1")
    async with office.worker(Trip, "v1"), office.worker(HotelFirst, "v2"):
        old = await office.start(trip)
        await gate.reached()
        await office.make_current("v2")
        gate.open()

        await compensated(old)

    assert office.done(trip) == ["BookFlight", "BookHotel", "CancelHotel", "CancelFlight"]
    assert await version_of(old) == "v1"


async def test_a_version_that_was_never_made_current_gets_no_saga(office: Office, trip: str) -> None:
    async with office.worker(Trip, "v1"):
        handle = await office.start(trip)
        await asyncio.sleep(1)
        assert office.agency.log[trip] == []

        await office.make_current("v1")
        await handle.result()


async def test_a_version_drains_until_its_last_saga_has_ended(office: Office, trip: str, gate: Gate) -> None:
    await office.make_current("v1")
    async with office.worker(Trip, "v1"), office.worker(HotelFirst, "v2"):
        old = await office.start(trip)
        await gate.reached()
        await office.make_current("v2")
        await old.signal("pause")
        gate.open()
        await asyncio.sleep(3)
        assert await office.drainage("v1") == "draining"

        await old.signal("resume")
        await old.result()
        await _until(lambda: _is(office.drainage("v1"), "drained"))


async def test_a_closed_saga_is_reported_by_workers_of_its_own_version_only(office: Office, trip: str) -> None:
    await office.make_current("v1")
    async with office.worker(Trip, "v2"):
        async with office.worker(Trip, "v1"):
            closed = await office.start(trip)
            await closed.result()
        await office.make_current("v2")
        with pytest.raises(RPCError, match=r"(?i)time(d )?out"):
            await closed.query("report", rpc_timeout=timedelta(seconds=2))

    async with office.worker(Trip, "v1"):
        assert (await closed.query("report", result_type=SagaReport)).status is SagaStatus.COMPLETED


async def test_a_saga_whose_version_has_no_worker_left_waits_and_shows_in_the_drainage(
    office: Office, trip: str, gate: Gate
) -> None:
    await office.make_current("v1")
    async with office.worker(HotelFirst, "v2"):
        async with office.worker(Trip, "v1"):
            old = await office.start(trip)
            await gate.reached()
            await office.make_current("v2")
        gate.open()
        await _until(lambda: _task_waits(old))
        await asyncio.sleep(2)

        assert (await old.describe()).status is WorkflowExecutionStatus.RUNNING
        assert await office.drainage("v1") == "draining"
        assert office.done(trip) == ["BookFlight", "BookHotel"]
        async with office.worker(Trip, "v1"):
            await old.result()

    assert office.done(trip) == FLIGHT_FIRST


async def test_a_saga_can_be_moved_to_a_version_that_replays_it(office: Office, trip: str, gate: Gate) -> None:
    await office.make_current("v1")
    async with office.worker(HotelFirstFromNowOn, "v2"):
        async with office.worker(Trip, "v1"):
            old = await office.start(trip)
            await gate.reached()
            await office.make_current("v2")
        gate.open()

        await office.move(trip, "v2")
        await old.result()

    assert office.done(trip) == FLIGHT_FIRST


async def test_a_round_of_recovery_is_not_bound_to_the_version_that_began_it(office: Office, trip: str) -> None:
    office.agency.may_look_for_lost.clear()
    await office.make_current("v1")
    async with office.worker(HotelFirst, "v2"):
        async with office.worker(Trip, "v1"):
            recovery = await office.agency.client.start_workflow("RecoverSagas", id=trip, task_queue=office.name)
            await _until(lambda: _has_begun_an_activity(recovery))
            await office.make_current("v2")
        office.agency.may_look_for_lost.set()

        assert await recovery.result() == []
    assert await version_of(recovery) == "v2"


async def test_the_recovery_of_a_saga_is_not_bound_to_the_version_that_began_it(office: Office, trip: str) -> None:
    undoing, release = asyncio.Event(), asyncio.Event()
    office.agency.script(trip, "CancelFlight", wait_for(release, undoing))
    await office.make_current("v1")
    async with office.worker(HotelFirst, "v2"):
        async with office.worker(Trip, "v1"):
            recovery = await office.agency.client.start_workflow(
                "RecoverSaga", lost(trip), id=trip, task_queue=office.name
            )
            async with asyncio.timeout(10):
                await undoing.wait()
            await office.make_current("v2")
        release.set()
        await recovery.result()

    assert office.done(trip) == ["CancelFlight"]
    assert await version_of(recovery) == "v2"
    await replay(await recovery.fetch_history(), [HotelFirst])


async def test_a_first_version_takes_over_the_sagas_that_began_without_versions(
    office: Office, trip: str, gate: Gate
) -> None:
    async with office.worker(Trip):
        old = await office.start(trip)
        await gate.reached()
        await old.signal("pause")
        async with office.worker(Trip, "v1"):
            await office.make_current("v1")
            gate.open()
            await _until(lambda: _signalled_has_version(old, "v1"))
            await old.signal("resume")
            await old.result()

    assert office.done(trip) == FLIGHT_FIRST


@pytest.mark.parametrize("broken", [HotelFirst, ForgetsTheHotel])
async def test_without_versions_a_saga_that_does_not_get_on_with_new_code_waits_for_the_right_one(
    office: Office, trip: str, gate: Gate, broken: type
) -> None:
    async with office.worker(Trip):
        handle = await office.start(trip)
        await gate.reached()
    async with office.worker(broken):
        gate.open()
        why = await failed_task(handle)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    assert ("Nondeterminism error" in why) if broken is HotelFirst else ("KeyError: 'hotel'" in why)

    async with office.worker(Trip):
        await handle.result()

    assert office.done(trip) == FLIGHT_FIRST


async def test_a_patched_saga_goes_on_as_it_began_and_new_ones_take_the_new_way(
    office: Office, trip: str, gate: Gate
) -> None:
    async with office.worker(Trip):
        old = await office.start(trip)
        await gate.reached()
    async with office.worker(HotelFirstFromNowOn):
        gate.open()
        await old.result()
        await (await office.start(f"{trip}-new")).result()

    assert office.done(trip) == FLIGHT_FIRST
    assert office.done(f"{trip}-new") == HOTEL_FIRST


async def compensated(handle: WorkflowHandle[Any, Any]) -> None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert getattr(failed.value.cause, "type", None) == "SagaCompensated"


def lost(trip: str) -> LostSaga:
    """As the release before put it, whose recoveries go on."""
    step = LostStep(key="BookFlight", command_type="BookFlight", command={"trip": trip})
    return LostSaga(saga_id=trip, saga_type="Trip", run_id=str(uuid4()), how="terminated", steps=(step,))


async def version_of(handle: WorkflowHandle[Any, Any]) -> str:
    described = (await handle.describe()).raw_description
    return described.workflow_execution_info.versioning_info.deployment_version.build_id


async def failed_task(handle: WorkflowHandle[Any, Any]) -> str:
    """Why a workflow task failed, as soon as one has."""
    found: list[str] = []

    async def look() -> bool:
        async for event in handle.fetch_history_events():
            if event.HasField("workflow_task_failed_event_attributes"):
                failure = event.workflow_task_failed_event_attributes.failure
                found.append(f"{failure.application_failure_info.type}: {failure.message}")
        return bool(found)

    await _until(look)
    return found[0]


async def _task_waits(handle: WorkflowHandle[Any, Any]) -> bool:
    return (await handle.describe()).raw_description.HasField("pending_workflow_task")


async def _has_begun_an_activity(handle: WorkflowHandle[Any, Any]) -> bool:
    pending = (await handle.describe()).raw_description.pending_activities
    return any(each.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED for each in pending)


async def _signalled_has_version(handle: WorkflowHandle[Any, Any], build_id: str) -> bool:
    """It is its next task that moves a saga."""
    await handle.signal("pause")
    return await version_of(handle) == build_id


async def _is(what: Awaitable[Any], wanted: object) -> bool:
    return bool(await what == wanted)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await holds():  # noqa: ASYNC110 - what is awaited happens in a server
            await asyncio.sleep(0.1)
