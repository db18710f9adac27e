"""Sagas whose workflow ended without running its code, and what becomes of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from temporalio.client import Client, WorkflowFailureError

from counteract.dev import EmbeddedTemporal
from counteract.lifecycle import Page
from counteract.participants.recovery import lost_page
from counteract.saga.report import SagaStatus
from tests.integration.saga.recoveries import begin, one_round, recover, recovered
from tests.travel.bank import Account
from tests.travel.reset import reset
from tests.travel.world import World

pytestmark = pytest.mark.integration


async def test_a_terminated_saga_is_undone(world: World, trip: str) -> None:
    handle = await begin(world, trip)
    await handle.terminate("by a person")
    world.company.gate.set()

    assert await recover(world) == [trip]
    report = await recovered(world, handle)

    assert report.status is SagaStatus.COMPENSATED
    assert await world.account() == Account(100, {})
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompensated"]
    assert [world.company.authorized[key] for key in world.company.authorized] == [
        world.company.voided[key] for key in world.company.authorized
    ]


async def test_a_second_round_finds_nothing_to_do(world: World, trip: str) -> None:
    handle = await begin(world, trip)
    await handle.terminate("by a person")
    await recover(world)
    await recovered(world, handle)

    assert await recover(world) == []
    assert await world.account() == Account(100, {})


async def test_two_rounds_at_once_undo_once(world: World, trip: str) -> None:
    handle = await begin(world, trip)
    await handle.terminate("by a person")

    found = await asyncio.gather(recover(world), recover(world))
    await recovered(world, handle)

    assert sorted(found) == [[], [trip]]
    assert await world.account() == Account(100, {})
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompensated"]


async def test_a_saga_that_still_runs_is_left_alone(world: World, trip: str) -> None:
    handle = await begin(world, trip)

    assert await recover(world) == []
    world.company.gate.set()

    assert len(await handle.result()) == 3
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]


async def test_a_saga_past_its_pivot_is_reported_and_not_undone(world: World, trip: str) -> None:
    await begin(world, trip)
    world.company.gate.set()
    handle = world.client.get_workflow_handle(trip)
    await handle.result()
    # As if it had been terminated after its pivot and before its end was on record.
    async with world.store.connection() as connection:
        await connection.execute("alter table events disable trigger user")
        await connection.execute("delete from events where aggregate_type = 'saga' and event_type = 'SagaCompleted'")
        await connection.execute("alter table events enable trigger user")
        await connection.execute("update sagas set state = 'past the pivot'")
    await reset(world, trip)
    await handle.terminate("by a person")

    assert await recover(world) == [trip]
    with pytest.raises(WorkflowFailureError):
        await recovered(world, handle)

    assert await world.account() == Account(40, {})
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaStuck"]
    (left,) = await one_round(world)
    assert (left.what, left.saga_id) == ("left", trip), "it stays on the list until somebody finishes it"
    assert f"counteract sagas resume {trip}" in left.why


@pytest.mark.program
async def test_the_command_line_recovers_by_hand_and_as_a_schedule(
    world: World, trip: str, temporal: EmbeddedTemporal
) -> None:
    handle = await begin(world, trip)
    await handle.terminate("by a person")
    options = ("--task-queue", world.queue, "--address", temporal.address)

    by_hand = await asyncio.to_thread(counteract, "sagas", "recover", *options)
    await recovered(world, handle)
    scheduled = await asyncio.to_thread(counteract, "sagas", "recover", "--every", "3600", *options)
    again = await asyncio.to_thread(counteract, "sagas", "recover", "--every", "60", *options)
    described = await world.client.get_schedule_handle("recover-sagas").describe()

    assert by_hand.stdout == f"recovering {trip}: its workflow was terminated\n1 lost sagas found\n"
    assert scheduled.stdout == "the schedule recover-sagas runs every 1:00:00\n"
    assert again.stdout == "the schedule recover-sagas runs every 0:01:00\n"
    assert [each.every.total_seconds() for each in described.schedule.spec.intervals] == [60]
    await world.client.get_schedule_handle("recover-sagas").delete()


def counteract(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "counteract.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def test_a_saga_that_the_server_does_not_know_is_undone_only_on_request(world: World, trip: str) -> None:
    handle = await begin(world, trip)
    await handle.terminate("by a person")
    async with EmbeddedTemporal(ui=False) as another:
        stranger = await Client.connect(another.address)
        page = await lost_page(stranger, world.store, None, include_forgotten=False)
        assert [each.why.split(":")[0] for each in page.left] == ["the server no longer knows its workflow"]
        page = await lost_page(stranger, world.store, None, include_forgotten=True)
        assert [each.saga_id for each in page.lost] == [trip]
        nowhere = await Client.connect(another.address, namespace="nowhere")
        assert await lost_page(nowhere, world.store, None, include_forgotten=True) == Page(), "not its concern"
    world.company.gate.set()

    (lost,) = page.lost
    await world.client.execute_workflow("RecoverLostSaga", lost, id=f"recover {trip}", task_queue=world.queue)
    assert await world.account() == Account(100, {})
