"""A run that has put its end on record, and loses the workflow task in which it did: its code runs again, and meets what came in
meanwhile. What is on record stands.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

from counteract import Rejected
from counteract.lifecycle import sagas
from counteract.saga import SagaReport, SagaWorkflow
from tests.travel.bank import HoldMoney, PayHeldMoney
from tests.travel.bank_sagas import OutingRequest
from tests.travel.reset import reset
from tests.travel.world import World

pytestmark = pytest.mark.integration

Meanwhile = Callable[[WorkflowHandle[Any, Any]], Awaitable[object]]
DEADLINE = timedelta(seconds=1.5)


@workflow.defn
class Whim(SagaWorkflow):
    """Sets money aside, unless somebody thinks better of it; and says what it is called by then."""

    begins = regrets = False

    @workflow.run
    async def run(self, request: OutingRequest) -> str:
        self.begins = True
        async with self.saga(deadline=DEADLINE) as saga:
            await saga.execute(HoldMoney(account=request.account, trip=request.trip, amount=request.amount))
            await asyncio.sleep(request.nap)
            if self.regrets:
                raise Rejected("changed my mind")
        return "held"

    @workflow.signal
    def regret(self) -> None:
        self.regrets = True

    @workflow.signal
    async def stumble(self) -> None:
        raise ApplicationError("over its own feet")

    @workflow.signal
    async def falter(self) -> None:
        await workflow.wait_condition(lambda: self.begins)
        raise ApplicationError("at the threshold")


@workflow.defn
class Splurge(Whim):
    """The same, and the money is gone."""

    @workflow.run
    async def run(self, request: OutingRequest) -> str:
        async with self.saga() as saga:
            await saga.execute(HoldMoney(account=request.account, trip=request.trip, amount=request.amount))
            await saga.execute(PayHeldMoney(account=request.account, trip=request.trip))
            if self.regrets:
                raise Rejected("changed my mind")
        return "paid"


@workflow.defn
class Reckoning(Whim):
    """Says up to where its events are."""

    @workflow.run
    async def run(self, request: OutingRequest) -> str:
        async with self.saga() as saga:
            await saga.execute(HoldMoney(account=request.account, trip=request.trip, amount=request.amount))
        return str(saga.position)


@workflow.defn
class Folly(Whim):
    """Fails when there is no way back."""

    @workflow.run
    async def run(self, request: OutingRequest) -> str:
        async with self.saga() as saga:
            await saga.execute(HoldMoney(account=request.account, trip=request.trip, amount=request.amount))
            await saga.execute(PayHeldMoney(account=request.account, trip=request.trip))
            raise Rejected("changed my mind" if self.regrets else "never liked it")


WHIMS = [Whim, Splurge, Reckoning, Folly]


class AfterTheEnd(Interceptor):
    """Does something as soon as the end of a saga is on record, while the workflow task that put it there is under way."""

    def __init__(self, world: World, end: str, meanwhile: Meanwhile) -> None:
        self.world = world
        self.end = end
        self.meanwhile = meanwhile
        self.times = 0

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        after = self

        class Recording(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
                result = await super().execute_activity(input)
                saga_id = activity.info().workflow_id or ""
                if after.times == 0 and after.end in await after.world.lifecycle(saga_id):
                    after.times += 1
                    await after.meanwhile(after.world.client.get_workflow_handle(saga_id))
                return result

        return Recording(next)


@asynccontextmanager
async def begun(
    world: World, trip: str, saga: type[Whim], meanwhile: Meanwhile, *, nap: float = 0, end: str = "SagaCompleted"
) -> AsyncIterator[WorkflowHandle[Any, str]]:
    """One such saga, with a worker of its own."""
    queue = f"whims-{uuid4().hex[:8]}"
    after = AfterTheEnd(world, end, meanwhile)
    async with Worker(world.client, task_queue=queue, workflows=WHIMS, interceptors=[after]):
        request = OutingRequest(account="ann", trip=trip, amount=60, nap=nap)
        yield await world.client.start_workflow(saga.run, request, id=trip, task_queue=queue)
    assert after.times == 1


async def cancel(handle: WorkflowHandle[Any, Any]) -> None:
    await handle.cancel()


async def let_the_deadline_pass(handle: WorkflowHandle[Any, Any]) -> None:
    await asyncio.sleep(DEADLINE.total_seconds())


async def have_a_handler_fail(handle: WorkflowHandle[Any, Any]) -> None:
    await handle.signal("stumble")


async def have_the_code_fail(handle: WorkflowHandle[Any, Any]) -> None:
    await handle.signal("regret")


@pytest.mark.parametrize("meanwhile", [cancel, let_the_deadline_pass, have_a_handler_fail])
async def test_what_comes_too_late_to_stop_it_does_not_stop_it(world: World, trip: str, meanwhile: Meanwhile) -> None:
    async with begun(world, trip, Whim, meanwhile) as handle:
        async with asyncio.timeout(15):
            assert await handle.result() == "held"
        report: SagaReport = await handle.query("report", result_type=SagaReport)

    assert (report.status, report.cause) == ("COMPLETED", None)
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]
    assert (await world.account()).available == 40


@pytest.mark.parametrize("saga", [Whim, Splurge])
async def test_code_that_now_ends_otherwise_is_told_that_everything_stands(
    world: World, trip: str, saga: type[Whim]
) -> None:
    async with begun(world, trip, saga, have_the_code_fail) as handle:
        with pytest.raises(WorkflowFailureError) as failed:
            async with asyncio.timeout(15):
                await handle.result()
        report: SagaReport = await handle.query("report", result_type=SagaReport)

    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "SagaHasCompleted"
    assert "the saga had completed when its code was to end otherwise: changed my mind" in str(failed.value.cause)
    assert (report.status, report.cause) == ("COMPLETED", None)
    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]
    assert (await world.account()).available == 40


async def test_its_events_are_where_they_were(world: World, trip: str) -> None:
    async with begun(world, trip, Reckoning, have_the_code_fail) as handle:
        position = int(await handle.result())

    assert position == (await world.store.read_stream(sagas.stream(trip)))[-1].position


async def test_code_that_now_fails_otherwise_past_the_pivot_is_not_told_that_it_has_completed(
    world: World, trip: str
) -> None:
    async with begun(world, trip, Folly, have_the_code_fail, end="SagaStuck") as handle:
        with pytest.raises(WorkflowFailureError) as failed:
            async with asyncio.timeout(15):
                await handle.result()
        report: SagaReport = await handle.query("report", result_type=SagaReport)

    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "SagaIncomplete"
    assert (report.status, report.cause) == ("STUCK", "changed my mind")
    said = [json.loads(each.data) for each in await world.store.read_stream(sagas.stream(trip))]
    assert [each["why"] for each in said if "why" in each] == ["never liked it", "changed my mind"]


async def test_a_run_that_goes_over_a_completed_saga_again_is_not_stopped(world: World, trip: str) -> None:
    async def nothing(handle: WorkflowHandle[Any, Any]) -> None: ...

    async with begun(world, trip, Whim, nothing, nap=0.5) as handle:
        assert await handle.result() == "held"
        again = await reset(world, trip)
        await again.cancel()
        async with asyncio.timeout(15):
            assert await again.result() == "held"

    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]


async def falter(handle: WorkflowHandle[Any, Any]) -> None:
    await handle.signal("falter")


@pytest.mark.parametrize("stop", [cancel, falter])
async def test_nor_is_one_that_is_stopped_before_it_knows_that_it_has_completed(
    world: World, trip: str, stop: Meanwhile
) -> None:
    async def nothing(handle: WorkflowHandle[Any, Any]) -> None: ...

    async with begun(world, trip, Whim, nothing) as handle:
        assert await handle.result() == "held"
    again = await reset(world, trip)
    # Nobody runs it yet, so that it begins with that.
    await stop(again)
    queue = (await again.describe()).task_queue
    async with Worker(world.client, task_queue=queue, workflows=[Whim]), asyncio.timeout(15):
        assert await again.result() == "held"

    assert await world.lifecycle(trip) == ["SagaStarted", "SagaCompleted"]
