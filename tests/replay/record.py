"""`make record`: runs checkouts of every ending on the embedded servers and records their histories."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from temporalio.client import Client, WorkflowFailureError

from counteract.dev import Supervisor
from counteract.dev.runtime import DevOptions, start
from counteract.plugin import CounteractPlugin
from counteract.store import PostgresEventStore
from marketplace.catalogue import catalogue, load
from marketplace.demo import begun
from marketplace.scenarios import Ending, Scenario, scenarios
from workflows.checkout import Checkout

HISTORIES = Path(__file__).parent / "histories"
KINDS = (
    "plain",
    "card declined",
    "authorised, but never answered",
    "captured, but never answered",
    "capture fails for good",
    "cancelled midway",
    "partly out of stock, goes on",
)


async def record() -> None:
    """One checkout of each kind, recorded through the command that users have."""
    for file in HISTORIES.glob("*.json"):
        file.unlink()
    async with Supervisor() as supervisor:
        variables = await start(supervisor, DevOptions(project=Path.cwd()))
        client = await Client.connect(variables["TEMPORAL_ADDRESS"], plugins=[CounteractPlugin()])
        goods = catalogue()
        async with PostgresEventStore.open(variables["DATABASE_URL"]) as store:
            await load(store, goods)
        first = {each.kind: each for each in reversed(scenarios(goods))}
        names = await asyncio.gather(*(check_out(client, first[kind]) for kind in KINDS))
        command = [sys.executable, "-m", "counteract.cli", "record", *names, "--to", str(HISTORIES)]
        process = await asyncio.create_subprocess_exec(*command, env=variables)
        if await process.wait():
            raise SystemExit("recording failed")


async def check_out(client: Client, scenario: Scenario) -> str:
    """Run it to its end; the workflow id, which names the file."""
    workflow_id = f"{scenario.ending}-{scenario.request.order_id}"
    handle = await client.start_workflow(Checkout.run, scenario.request, id=workflow_id, task_queue="sagas")
    if scenario.cancel_at:
        await begun(handle, scenario.cancel_at)
        await handle.cancel()
    try:
        await handle.result()
    except WorkflowFailureError:
        if scenario.ending is Ending.COMPLETED:
            raise
    return workflow_id


if __name__ == "__main__":
    asyncio.run(record())
    sys.stdout.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(0)
