"""`python -m projections`: keeps the read models up to date."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from counteract import MASTER_KEY_VARIABLE, CounteractError, ProjectionRunner
from projections import READ_MODELS

NEEDED = {
    "DATABASE_URL": "the database to project from, postgresql://…",
    MASTER_KEY_VARIABLE: "the key that the customers' addresses are sealed with",
}


async def run(url: str) -> None:
    running = asyncio.create_task(ProjectionRunner(url, READ_MODELS).run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    print("ready", flush=True)
    try:
        await running
    except asyncio.CancelledError:
        print("stopped")


if __name__ == "__main__":
    if missing := [f"{name} is not set: {what}" for name, what in NEEDED.items() if name not in os.environ]:
        sys.exit("\n".join(missing))
    try:
        asyncio.run(run(os.environ["DATABASE_URL"]))
    except CounteractError as error:
        sys.exit(str(error))
