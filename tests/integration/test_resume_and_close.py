"""`counteract sagas resume` and `close`: what a person does about a saga that ended past its pivot before it was done."""

from __future__ import annotations

import asyncio
import re
import subprocess
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle

from counteract.dev import EmbeddedTemporal
from counteract.lifecycle import SagaStarted
from counteract.lifecycle import sagas as lifecycles
from counteract.store import ANY
from tests.commands import counteract
from tests.integration.test_recovery import recover, recovered
from tests.travel.bank import Account
from tests.travel.outings import Errand, OutingRequest, Purchase
from tests.travel.world import World

pytestmark = pytest.mark.integration

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
    request = OutingRequest(account="ann", trip=trip, amount=60, nap=60)
    handle: Handle = await world.client.start_workflow(Errand.run, request, id=trip, task_queue=world.queue)
    async with asyncio.timeout(15):
        while "'applied'" not in str(await handle.query("report")):
            pass
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


@pytest.fixture
async def closings(world: World, database_url: str) -> None:
    """Keeps what it is told, where the store has nothing for it yet."""
    async with world.store.connection() as connection:
        await connection.execute("""
            do $$ begin
                if to_regprocedure('close_saga(text, text, text, text)') is null then
                    create table closings (saga_id text, run_id text, who text, why text);
                    create function close_saga(text, text, text, text) returns setof closings language sql as
                        'insert into closings values ($1, $2, $3, $4) returning *';
                end if;
            end $$
        """)


async def closed(temporal: EmbeddedTemporal, url: str, trip: str) -> subprocess.CompletedProcess[str]:
    return await sagas(temporal, "close", trip, "--why", "by phone", "--who", "ann", "--database-url", url)


async def test_a_saga_that_was_finished_by_hand_is_closed_for_its_first_run(
    world: World, temporal: EmbeddedTemporal, trip: str, closings: None, database_url: str
) -> None:
    handle = await paid(world, trip)
    await handle.terminate()

    said = await closed(temporal, database_url, trip)

    assert said.stdout == f"{trip} is closed, by ann: by phone\n", said
    async with world.store.connection() as connection:
        (row,) = await (await connection.execute("select * from closings")).fetchall()
    assert row == (trip, handle.first_execution_run_id, "ann", "by phone")


async def test_a_saga_that_runs_is_not_closed(
    world: World, temporal: EmbeddedTemporal, trip: str, closings: None, database_url: str
) -> None:
    handle = await paid(world, trip)

    said = await closed(temporal, database_url, trip)

    assert said.stderr.startswith(
        f"{trip} is still running: decide about a stuck step with `counteract sagas resolve`, or"
    )
    await handle.terminate()


async def test_a_saga_that_nobody_knows_is_not_closed(temporal: EmbeddedTemporal, app_url: str) -> None:
    said = await closed(temporal, app_url, "nobody")

    assert said.stderr.startswith(
        "no saga nobody is known, neither to the server nor to the store: `counteract sagas list`"
    )


async def test_a_saga_that_the_server_has_forgotten_is_closed_for_the_run_that_the_store_knows(
    world: World, temporal: EmbeddedTemporal, trip: str, closings: None, database_url: str
) -> None:
    started = SagaStarted(saga_type="Purchase", run_id="first-run")
    await world.store.append(lifecycles.stream(trip), [started], expect=ANY)

    await closed(temporal, database_url, trip)

    async with world.store.connection() as connection:
        (row,) = await (await connection.execute("select run_id from closings")).fetchall()
    assert row == ("first-run",)
