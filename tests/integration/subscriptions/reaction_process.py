"""A process with a reaction that sends a command for the first event, and never has an answer for the second.

`python -m tests.integration.subscriptions.reaction_process URL ADDRESS NAME QUEUE`
"""

from __future__ import annotations

import asyncio
import sys

from temporalio.client import Client

from counteract.plugin import CounteractPlugin
from counteract.reactions import Reaction, ReactionRunner, Send, reacts_to
from tests.counters import Counted
from tests.travel.bank import HoldMoney


def holding(name: str, queue: str, *, answers: int = sys.maxsize) -> Reaction:
    """Sets money aside for each event, as far as it has answers."""
    asked: list[int] = []

    @reacts_to(Counted, name=name, from_="start")
    async def hold(counted: Counted) -> Send:
        if len(asked) >= answers:
            print("stuck", flush=True)
            await asyncio.Event().wait()
        asked.append(counted.amount)
        command = HoldMoney(account="ann", trip=f"trip-{counted.amount}", amount=counted.amount)
        return Send(command, task_queue=queue)

    return hold


async def main(url: str, address: str, name: str, queue: str) -> None:
    client = await Client.connect(address, plugins=[CounteractPlugin()])
    await ReactionRunner(url, client, [holding(name, queue, answers=1)]).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
