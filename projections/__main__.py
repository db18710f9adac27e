"""`python -m projections`: keeps the read models up to date."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from counteract import CounteractError
from counteract.projections import ProjectionRunner
from projections import order_summary


async def run(url: str) -> None:
    running = asyncio.create_task(ProjectionRunner(url, [order_summary]).run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    print("ready", flush=True)
    try:
        await running
    except asyncio.CancelledError:
        print("stopped")


if __name__ == "__main__":
    if "DATABASE_URL" not in os.environ:
        sys.exit("DATABASE_URL is not set: the database to project from, postgresql://…")
    try:
        asyncio.run(run(os.environ["DATABASE_URL"]))
    except CounteractError as error:
        sys.exit(str(error))
