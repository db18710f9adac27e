"""A worker of the boat rental that is killed as soon as somebody rents a boat.

`python -m tests.travel.killed_worker ADDRESS`
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker


@activity.defn(name="RentBoat")
async def rent_boat(command: Any, dispatch: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(address: str) -> None:
    client = await Client.connect(address)
    async with asyncio.timeout(30), Worker(client, task_queue="boats", activities=[rent_boat]):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
