"""A server that may lose what the session's must keep, and a file for archived streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from counteract.dev import EmbeddedPostgres
from counteract.store.postgres.migrate import migrate


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """A migrated server for one test alone."""
    async with EmbeddedPostgres() as server:
        await asyncio.to_thread(migrate, server.url)
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "old.jsonl.gz"
