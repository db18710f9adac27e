"""A workflow that its worker drops with its coroutines unfinished: they are closed wherever memory is collected next."""

from __future__ import annotations

import gc
import sys
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.worker import Worker

from counteract import Rejected
from counteract.saga import Park, SagaWorkflow
from counteract.store import ANY
from tests.protocol.stage import until
from tests.travel.bank import Deposited, HoldMoney, accounts
from tests.travel.world import World

pytestmark = pytest.mark.integration


@workflow.defn
class Queuing(SagaWorkflow):
    """Holds amounts, one after the other, and then has second thoughts."""

    @workflow.run
    async def run(self, account: str, amounts: list[int]) -> None:
        holds = [HoldMoney(account=account, trip=f"{account} {amount}", amount=amount) for amount in amounts]
        async with self.saga(alert_after=timedelta(seconds=1), on_failure=Park(timeout=timedelta(hours=1))) as saga:
            await saga.parallel(*holds, at_once=1)
            raise Rejected("second thoughts")


async def complaints(world: World, account: str, amounts: list[int], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said where nobody can catch it, once the saga is stuck and its worker gone."""
    heard: list[str] = []
    await world.store.append(accounts.stream(account), [Deposited(amount=100)], expect=ANY)
    queue = f"queues-{uuid4().hex[:8]}"
    # As where a worker comes to its end before it could evict in order.
    async with Worker(world.client, task_queue=queue, workflows=[Queuing], disable_safe_workflow_eviction=True):
        options: Any = {"id": account, "task_queue": queue, "args": [account, amounts]}
        saga = await world.client.start_workflow("Queuing", **options)

        async def is_stuck() -> bool:
            report = await saga.query("report")
            return bool(report and report["status"] == "STUCK")

        await until(is_stuck)
        await saga.terminate()
        gc.collect()
        monkeypatch.setattr(sys, "unraisablehook", lambda it: heard.append(f"{it.exc_value!r} in {it.object!r}"))
    gc.collect()
    return heard


async def test_a_parked_step_and_those_behind_it_say_nothing(
    world: World, trip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await complaints(world, trip, [1000, 10, 20], monkeypatch) == []


async def test_a_stuck_undo_and_those_beside_it_say_nothing(
    world: World, trip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.post.loses_orders = {"FreeMoney"}

    assert await complaints(world, trip, [10, 20], monkeypatch) == []
