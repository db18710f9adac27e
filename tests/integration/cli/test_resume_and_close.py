"""`counteract sagas resume` and `close`: what a person does about a saga that ended past its pivot before it was done."""

from __future__ import annotations

import asyncio
import re
import subprocess
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle

from counteract.dev import EmbeddedTemporal
from counteract.lifecycle import Lost, SagaStarted
from counteract.lifecycle import sagas as lifecycles
from counteract.saga.recovery import recovery_id
from counteract.store import ANY
from tests.commands import counteract
from tests.integration.saga.recoveries import recover, recovered
from tests.travel.bank import Account
from tests.travel.bank_sagas import Errand, OutingRequest, Purchase
from tests.travel.world import World

pytestmark = [pytest.mark.integration, pytest.mark.program]

Handle = WorkflowHandle[Any, Any]


async def sagas(temporal: EmbeddedTemporal, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await counteract("sagas", *arguments, "--address", temporal.address)


async def paid(world: World, trip: str) -> Handle:
    """A saga that is past its pivot, and whose receipt does not get through."""
    world.post.delays.add("SendReceipt")
    request = OutingRequest(account="ann", trip=trip, amount=60)
    handle: Handle = await world.client.start_workflow(Purchase.run, request, id=trip, task_queue=world.queue)
    async with asyncio.timeout(15):
        while "SendReceipt" not in str(await handle.query("report")):
            pass
    return handle


async def errand(world: World, trip: str) -> Handle:
    """A saga that holds money, and naps."""
    request = OutingRequest(account="ann", trip=trip, amount=60, nap=60)
    handle: Handle = await world.client.start_workflow(Errand.run, request, id=trip, task_queue=world.queue)
    async with asyncio.timeout(15):
        while "'applied'" not in str(await handle.query("report")):
            pass
    return handle


async def resumed(world: World, temporal: EmbeddedTemporal, trip: str) -> str:
    """What the saga returns."""
    world.post.delays.clear()
    said = await sagas(temporal, "resume", trip)
    assert re.fullmatch(rf"{trip} goes forward again, in the run [-0-9a-f]{{36}}\n", said.stdout), said
    result: str = await world.client.get_workflow_handle(trip).result()
    return result


async def test_a_saga_that_was_terminated_past_its_pivot_goes_forward_again(
    world: World, temporal: EmbeddedTemporal, trip: str
) -> None:
    await (await paid(world, trip)).terminate()

    assert await resumed(world, temporal, trip) == "captured"
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]
    again = await sagas(temporal, "resume", trip)
    assert again.stderr == f"{trip} has completed: there is nothing left to do\n"


async def test_a_saga_that_timed_out_past_its_pivot_goes_forward_again(
    world: World, temporal: EmbeddedTemporal, trip: str
) -> None:
    world.post.delays.add("SendReceipt")
    request = OutingRequest(account="ann", trip=trip, amount=60)
    with pytest.raises(WorkflowFailureError):
        await world.client.execute_workflow(
            Purchase.run, request, id=trip, task_queue=world.queue, execution_timeout=timedelta(seconds=4)
        )

    assert await resumed(world, temporal, trip) == "captured"


async def test_a_saga_that_recovery_found_past_its_pivot_goes_forward_again(
    world: World, temporal: EmbeddedTemporal, trip: str
) -> None:
    handle = await paid(world, trip)
    await handle.terminate()
    await recover(world)
    with pytest.raises(WorkflowFailureError):
        await recovered(world, handle)

    assert await resumed(world, temporal, trip) == "captured"


async def test_a_saga_that_runs_is_told_to_go_on_and_is_not_reset(
    world: World, temporal: EmbeddedTemporal, trip: str
) -> None:
    handle = await paid(world, trip)
    await handle.signal("pause")

    said = await sagas(temporal, "resume", trip)

    assert said.stdout == f"{trip} is still running: it goes on now, if it was paused\n"
    assert "'paused': False" in str(await handle.query("report"))
    assert (await handle.describe()).run_id == handle.first_execution_run_id
    world.post.delays.clear()
    await handle.result()


async def test_signals_that_came_after_the_last_decision_reach_the_saga_again(
    world: World, temporal: EmbeddedTemporal, trip: str
) -> None:
    handle = await paid(world, trip)
    await handle.signal("pause")
    await handle.terminate()

    await sagas(temporal, "resume", trip)

    again = world.client.get_workflow_handle(trip)
    async with asyncio.timeout(15):
        while "'paused': True" not in str(await again.query("report")):
            pass
    await again.terminate()


async def test_a_saga_that_recovery_has_undone_is_not_resumed(
    world: World, temporal: EmbeddedTemporal, trip: str
) -> None:
    handle = await errand(world, trip)
    await handle.terminate()

    before = await sagas(temporal, "resume", trip)
    assert before.stderr.startswith(
        f"{trip} ended before its pivot: `counteract sagas recover` undoes what it did; then"
    )

    await recover(world)
    await recovered(world, handle)
    after = await sagas(temporal, "resume", trip)
    assert after.stderr.startswith(f"{trip} was undone by recovery: start a new saga")
    assert await world.account() == Account(100, {})


async def past_its_pivot_and_left_alone(world: World, trip: str) -> Handle:
    """A saga that a recovery took for lost, and found carried on."""
    handle = await paid(world, trip)
    run_id = str(handle.first_execution_run_id)
    lost = Lost(saga_id=trip, saga_type="Purchase", run_id=run_id, state="past the pivot", how="terminated")
    await world.client.execute_workflow("RecoverLostSaga", lost, id=recovery_id(trip, run_id), task_queue=world.queue)
    return handle


@pytest.mark.parametrize("looks_at_record", [True, False])
async def test_a_saga_that_recovery_has_left_alone_goes_forward_again(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str, looks_at_record: bool
) -> None:
    await (await past_its_pivot_and_left_alone(world, trip)).terminate()
    world.post.delays.clear()

    said = await sagas(temporal, "resume", trip, *(["--database-url", app_url] if looks_at_record else []))

    assert said.stdout.startswith(f"{trip} goes forward again, in the run "), said
    assert await world.client.get_workflow_handle(trip).result() == "captured"


async def closed(temporal: EmbeddedTemporal, url: str, trip: str, *more: str) -> subprocess.CompletedProcess[str]:
    return await sagas(temporal, "close", trip, "--why", "by phone", "--who", "ann", "--database-url", url, *more)


async def recorded(world: World, trip: str) -> list[tuple[Any, ...]]:
    async with world.store.connection() as connection:
        found = await connection.execute("select state, who, why from sagas where saga_id = %s", (trip,))
        return await found.fetchall()


async def test_a_saga_that_was_finished_by_hand_past_its_pivot_is_on_record_as_completed_by_whom_and_why(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    await (await paid(world, trip)).terminate()

    said = await closed(temporal, app_url, trip)

    assert said.stdout == f"{trip} is closed as completed, by ann: by phone\n", said
    assert await recorded(world, trip) == [("completed", "ann", "by phone")]
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaResolved", "SagaCompleted"]


async def test_a_saga_that_was_finished_by_hand_before_its_pivot_is_on_record_as_compensated(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    handle = await errand(world, trip)
    await handle.terminate()

    said = await closed(temporal, app_url, trip)

    assert said.stdout == f"{trip} is closed as compensated, by ann: by phone\n", said
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaResolved", "SagaCompensated"]


async def test_what_was_closed_is_left_alone_by_recovery_and_by_resume(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    await (await paid(world, trip)).terminate()
    await closed(temporal, app_url, trip)

    assert await recover(world) == []
    again = await sagas(temporal, "resume", trip, "--database-url", app_url)
    assert again.stderr == f"{trip} has completed: there is nothing left to do\n"


async def test_a_saga_that_had_ended_is_not_closed_and_one_is_told_so(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    await world.outing(trip)

    said = await closed(temporal, app_url, trip)

    assert said.stdout == f"{trip} had ended already, as completed: nothing was changed\n", said
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]


async def test_a_saga_that_runs_is_not_closed(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    handle = await paid(world, trip)

    said = await closed(temporal, app_url, trip)

    assert said.stderr.startswith(
        f"{trip} is still running: decide about a stuck step with `counteract sagas resolve`, or"
    )
    await handle.terminate()


async def stuck_in_recovery(world: World, trip: str) -> WorkflowHandle[Any, Any]:
    """The recovery of a saga whose undo does not get through."""
    handle = await errand(world, trip)
    await handle.terminate()
    world.post.loses_orders = {"FreeMoney"}
    await recover(world)
    async with asyncio.timeout(15):
        while "SagaStuck" not in await world.lifecycle(trip):  # noqa: ASYNC110 - it happens in a worker
            await asyncio.sleep(0.05)
    return world.client.get_workflow_handle(recovery_id(trip, str(handle.first_execution_run_id)))


async def test_a_saga_that_is_being_recovered_is_not_closed_and_one_is_told_how_to_decide(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    recovery = await stuck_in_recovery(world, trip)

    said = await closed(temporal, app_url, trip)

    assert f"`counteract sagas resolve '{recovery.id}'`" in said.stderr, said
    assert await recorded(world, trip) == [("turning back", recovery.id, "its workflow was terminated")]
    await sagas(temporal, "resolve", recovery.id, "HoldMoney", "skip", "--why", "by phone", "--who", "ann")
    await recovery.result()
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaStuck", "SagaResolved", "SagaCompensated"]
    assert (await world.account()).held == {trip: 60}, "a person has seen to it"


async def test_a_saga_whose_recovery_was_ended_is_closed(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    await (await stuck_in_recovery(world, trip)).terminate()

    said = await closed(temporal, app_url, trip)

    assert said.stdout == f"{trip} is closed as compensated, by ann: by phone\n", said


async def elsewhere(world: World, trip: str) -> None:
    """A saga of this id, of another namespace."""
    async with world.store.connection() as connection:
        await connection.execute(
            "insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run) "
            "values (%s, 'its-run', 'elsewhere', 'Errand', 'forward', 1, 'its-run')",
            (trip,),
        )


async def test_of_two_namespaces_the_saga_that_is_asked_for_is_closed(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    await (await errand(world, trip)).terminate()
    await elsewhere(world, trip)

    await closed(temporal, app_url, trip)

    assert sorted(await recorded(world, trip), key=str) == [("compensated", "ann", "by phone"), ("forward", None, None)]


async def test_a_saga_of_another_namespace_is_not_closed(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    await elsewhere(world, trip)

    said = await closed(temporal, app_url, trip)

    assert said.stderr.startswith(f"the store has no record of a saga {trip}: "), said
    assert await recorded(world, trip) == [("forward", None, None)]


async def test_a_saga_that_nobody_knows_is_not_closed(temporal: EmbeddedTemporal, app_url: str) -> None:
    said = await closed(temporal, app_url, "nobody")

    assert said.stderr == "the store has no record of a saga nobody: `counteract sagas list` shows which are known\n"


async def test_a_saga_that_the_server_has_forgotten_is_closed_by_its_record(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    started = SagaStarted(saga_type="Purchase", run_id="first-run")
    await world.store.append(lifecycles.stream(trip), [started], expect=ANY)

    await closed(temporal, app_url, trip)

    assert await recorded(world, trip) == [("compensated", "ann", "by phone")]


async def test_a_saga_whose_record_has_turned_back_is_not_resumed_though_its_workflow_does_not_say_so(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str
) -> None:
    handle = await paid(world, trip)
    await handle.terminate()
    async with world.store.connection() as connection:
        await connection.execute("update sagas set state = 'turning back' where saga_id = %s", (trip,))

    said = await sagas(temporal, "resume", trip, "--database-url", app_url)

    assert said.stderr.startswith(
        f"{trip} has turned back, its record says: `counteract sagas recover` undoes the rest;"
    )


def put_back(database_url: str, saga_id: str, state: str) -> None:
    """As a database has it that lost its last commits."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("update sagas set state = %s where saga_id = %s", (state, saga_id))


async def test_a_saga_whose_workflow_has_completed_is_closed_as_completed(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str, database_url: str
) -> None:
    """Nothing of it was undone, whatever a record says that lost its end."""
    await world.outing(trip)
    put_back(database_url, trip, "forward")

    said = await closed(temporal, app_url, trip)

    assert said.stdout == f"{trip} is closed as completed, by ann: by phone\n", said


@pytest.mark.parametrize("ending", ["completed", "compensated"])
async def test_how_a_saga_ended_at_its_pivot_is_for_the_person_to_say(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str, database_url: str, ending: str
) -> None:
    await (await errand(world, trip)).terminate()
    put_back(database_url, trip, "at the pivot")

    said = await closed(temporal, app_url, trip)
    assert "see what is true, finish it, and say so with --as completed or --as compensated" in said.stderr
    assert [state for state, *_ in await recorded(world, trip)] == ["at the pivot"]

    said = await closed(temporal, app_url, trip, "--as", ending)
    assert said.stdout == f"{trip} is closed as {ending}, by ann: by phone\n", said


async def test_a_saga_past_its_pivot_is_not_closed_as_compensated(
    world: World, temporal: EmbeddedTemporal, trip: str, app_url: str, database_url: str
) -> None:
    await (await errand(world, trip)).terminate()
    put_back(database_url, trip, "past the pivot")

    said = await closed(temporal, app_url, trip, "--as", "compensated")

    assert "it can only be closed as completed" in said.stderr
