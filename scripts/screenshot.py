"""Takes the README's picture: a compensated checkout in the Temporal Web UI, from a real run, in headless Chromium.

Run it as `.venv/bin/python -m scripts.screenshot`. Chromium must be on PATH (Debian: apt-get install chromium).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from temporalio.client import Client

from counteract.dev import Supervisor
from counteract.dev.runtime import DevOptions, start
from counteract.plugin import CounteractPlugin
from counteract.store import PostgresEventStore
from marketplace.catalogue import catalogue, load
from marketplace.demo import run
from marketplace.scenarios import scenarios

PICTURE = Path("docs/images/compensated-checkout.png")
KIND = "card declined"
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


async def take() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is not on PATH; on Debian: apt-get install chromium")
    async with Supervisor() as supervisor:
        variables = await start(supervisor, DevOptions(project=Path.cwd()))
        client = await Client.connect(variables["TEMPORAL_ADDRESS"], plugins=[CounteractPlugin()])
        goods = catalogue()
        async with PostgresEventStore.open(variables["DATABASE_URL"]) as store:
            await load(store, goods)
        scenario = next(each for each in scenarios(goods) if each.kind == KIND)
        await run(client, scenario)
        description = await client.get_workflow_handle(scenario.workflow_id).describe()
        address = f"{variables['TEMPORAL_UI_URL']}/namespaces/default/workflows/{description.id}/{description.run_id}/timeline"
        await photograph(chromium, address)
    print(PICTURE)


async def photograph(chromium: str, address: str) -> None:
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        options = (f"--user-data-dir={profile}", "--window-size=1500,1020", "--virtual-time-budget=15000")
        process = await asyncio.create_subprocess_exec(
            chromium, *QUIET, *options, f"--screenshot={PICTURE}", address, stderr=asyncio.subprocess.DEVNULL
        )
        if await process.wait():
            raise SystemExit("Chromium took no picture")


if __name__ == "__main__":
    asyncio.run(take())
    sys.stdout.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(0)
