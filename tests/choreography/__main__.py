"""`python -m tests.choreography`: the services of the choreographed checkout, and their reactions."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

from temporalio.client import Client
from temporalio.worker import Worker

from activities.payment_port import HttpPaymentProvider
from counteract.participants import Participants
from counteract.plugin import CounteractPlugin
from counteract.reactions import ReactionRunner, SendCommand
from counteract.store import PostgresEventStore
from tests.choreography import checkout


async def main(url: str, address: str, provider_url: str) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresEventStore.open(url))
        provider = await stack.enter_async_context(HttpPaymentProvider.open(provider_url))
        client = await Client.connect(address, plugins=[CounteractPlugin(store=store)])
        for worker in (
            Worker(client, task_queue=checkout.QUEUE, workflows=[SendCommand]),
            *Participants(store, checkout, resources=[provider]).workers(client),
        ):
            await stack.enter_async_context(worker)
        print("ready", flush=True)
        await ReactionRunner(url, client, checkout.REACTIONS).run()


if __name__ == "__main__":
    asyncio.run(main(*(os.environ[name] for name in ("DATABASE_URL", "TEMPORAL_ADDRESS", "PAYMENT_PROVIDER_URL"))))
