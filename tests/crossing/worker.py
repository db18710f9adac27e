"""Runs the shop with whichever release the path of imports begins with: `worker.py FOLDER`, until it is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

import counteract
from counteract.participants import Lifecycle, Participants
from counteract.plugin import CounteractPlugin
from counteract.store import PostgresEventStore
from tests.crossing import shop
from tests.crossing.sagas import Gift, Sale, Subscription
from tests.crossing.shop import CardCompany

QUEUE = "crossing"
GRACE = timedelta(seconds=1)


async def work(folder: Path) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresEventStore.open(os.environ["DATABASE_URL"]))
        plugin = CounteractPlugin(Lifecycle(store))
        client = await Client.connect(os.environ["TEMPORAL_ADDRESS"], plugins=[plugin])
        participants = Participants(store, shop, resources=[CardCompany(folder)])
        sagas = Worker(client, task_queue=QUEUE, workflows=[Gift, Sale, Subscription], graceful_shutdown_timeout=GRACE)
        for worker in [*participants.workers(client, graceful_shutdown_timeout=GRACE), sagas]:
            await stack.enter_async_context(worker)
        print(f"ready with {Path(counteract.__file__).parent}", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1])))
