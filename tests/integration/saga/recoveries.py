"""A saga that waits to lose its workflow, and rounds of recovery."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from temporalio.client import WorkflowHandle

from counteract.lifecycle import Found, SagaStarted, sagas
from counteract.saga.report import SagaReport
from tests.travel.bank_sagas import Outing, OutingRequest
from tests.travel.world import World


async def begin(world: World, trip: str) -> WorkflowHandle[Outing, list[str]]:
    """A saga that has set money aside, and waits for the card company."""
    world.company.gate.clear()
    request = OutingRequest(account="ann", trip=trip, amount=60)
    handle = await world.client.start_workflow(Outing.run, request, id=trip, task_queue=world.queue)
    async with asyncio.timeout(10):
        await world.company.reached.wait()
    assert (await world.account()).held == {trip: 60}
    return handle


async def one_round(world: World, *, include_forgotten: bool = False) -> list[Found]:
    """One round of recovery: what it did about each saga."""
    workflow_id = f"recover-{uuid4().hex[:8]}"
    found: list[Found] = await world.client.execute_workflow(
        "RecoverSagas", include_forgotten, id=workflow_id, task_queue=world.queue, result_type=list[Found]
    )
    return found


async def recover(world: World) -> list[str]:
    """One round of recovery: the sagas that it has begun to recover."""
    return [each.saga_id for each in await one_round(world) if each.what == "recovering"]


async def recovered(world: World, handle: WorkflowHandle[Outing, list[str]]) -> SagaReport:
    run_id = (await world.store.read_stream(sagas.stream(handle.id)))[0]
    decoded = SagaStarted.model_validate_json(run_id.data)
    workflow_id = f"recover {handle.id} {decoded.run_id}"
    report: SagaReport = await world.client.get_workflow_handle(workflow_id, result_type=SagaReport).result()
    return report
