"""The two engines on Temporal: Counteract, and the same saga by hand.

With `split` the steps have a task queue of their own, as a service that is deployed by itself has. Without it, saga and
steps share one, which lets the server hand out a step together with the answer that scheduled it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from benchmarks.engines import trip_services, writers
from benchmarks.engines.by_hand import BY_HAND, BY_HAND_STEPS, TripByHand
from benchmarks.engines.by_hand_steps import Steps
from benchmarks.engines.runner import Run
from benchmarks.engines.trip import TripRequest
from benchmarks.engines.trip_saga import TripSaga
from counteract.participants import Lifecycle, Participants
from counteract.plugin import CounteractPlugin
from counteract.store import PostgresEventStore

SERVICE = "travel"
SAGAS = "trips"


@asynccontextmanager
async def counteract(*, split: bool) -> AsyncIterator[Run]:
    queue = SAGAS if split else SERVICE
    async with AsyncExitStack() as stack:
        url = os.environ["DATABASE_URL"]
        store = await stack.enter_async_context(PostgresEventStore.open(url, pool_size=writers.POOL_SIZE))
        client = await Client.connect(os.environ["TEMPORAL_ADDRESS"], plugins=[CounteractPlugin(Lifecycle(store))])
        participants = Participants(store, trip_services)
        if split:
            workers = [*participants.workers(client), Worker(client, task_queue=SAGAS, workflows=[TripSaga])]
        else:
            workers = participants.workers(client, workflows=[TripSaga])
        for worker in workers:
            await stack.enter_async_context(worker)

        async def run(name: str) -> object:
            return await client.execute_workflow(TripSaga.run, TripRequest(trip=name), id=name, task_queue=queue)

        yield run


@asynccontextmanager
async def by_hand(*, split: bool) -> AsyncIterator[Run]:
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(writers.pool(os.environ["DATABASE_URL"]))
        client = await Client.connect(os.environ["TEMPORAL_ADDRESS"], data_converter=pydantic_data_converter)
        steps = Steps(connections)
        activities = [steps.book_flight, steps.cancel_flight, steps.book_hotel, steps.cancel_hotel]
        activities += [steps.charge_card, steps.send_tickets]
        if split:
            workers = [
                Worker(client, task_queue=BY_HAND_STEPS, activities=activities),
                Worker(client, task_queue=BY_HAND, workflows=[TripByHand]),
            ]
        else:
            workers = [Worker(client, task_queue=BY_HAND, workflows=[TripByHand], activities=activities)]
        for worker in workers:
            await stack.enter_async_context(worker)
        queue = BY_HAND_STEPS if split else BY_HAND

        async def run(name: str) -> object:
            request = TripRequest(trip=name, steps=queue)
            return await client.execute_workflow(TripByHand.run, request, id=name, task_queue=BY_HAND)

        yield run
