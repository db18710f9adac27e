"""The marketplace's checkout survives every single fault, with its own handlers and a payment provider outside."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from counteract.dev import EmbeddedTemporal
from counteract.dev.ports import free_port
from counteract.dev.process import GuardedProcess, Launch
from counteract.store import PostgresEventStore
from marketplace.exploration import explore_checkout

pytestmark = [pytest.mark.explore, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture
async def provider_url(tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "payment_provider", "--port", str(port)]
    process = await GuardedProcess.start(Launch(name="provider", command=command, log=tmp_path / "provider.log"))
    try:
        while not process.printed("ready"):
            assert not process.has_ended, process.reason()
            await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        await process.stop()


async def test_a_checkout_with_the_marketplaces_own_handlers_survives_every_single_fault(
    temporal: EmbeddedTemporal, database_url: str, provider_url: str
) -> None:
    client = await Client.connect(temporal.address)
    async with PostgresEventStore.open(database_url, pool_size=20) as store:
        exploration = await explore_checkout(store, client, provider_url)

    assert exploration.not_reached == []
