"""`python -m marketplace.chaos.worker`: the orchestrator's worker, with the sagas that only the storm has."""

from __future__ import annotations

import asyncio
import os
import sys

from temporalio.worker import Worker

from counteract import CounteractError, CounteractPlugin, PostgresEventStore
from marketplace.chaos.gifts import GiftCheckout
from worker import GRACE, SAGAS, Settings, connected, read, stop_requested
from workflows.checkout import Checkout


async def run() -> None:
    """Work until SIGINT or SIGTERM."""
    settings = read(Settings)
    async with PostgresEventStore.open(settings.database_url, pool_size=settings.pool_size) as store:
        client = await connected(CounteractPlugin(store=store))
        sagas = [Checkout, GiftCheckout]
        async with Worker(client, task_queue=SAGAS, workflows=sagas, graceful_shutdown_timeout=GRACE):
            print("ready: sagas", flush=True)
            await stop_requested()


def main() -> int:
    try:
        asyncio.run(run())
    except CounteractError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(code)
