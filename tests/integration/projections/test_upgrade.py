"""Projections go on while the schema is migrated under them, and then while their processes are replaced."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from counteract.dev import EmbeddedPostgres
from counteract.dev.fixtures import as_application, execute
from counteract.store.postgres.migrate import check_schema, migrate
from tests.crossing.release_before import ROOT, unpack_release_before

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(300)]

PROGRAM = """
import asyncio, sys
from sqlalchemy import BigInteger, Column, Text
from counteract import Event, Recorded
from counteract.projections import Increment, Projection, ProjectionRunner

class Counted(Event):
    amount: int = 1

totals = Projection("totals", Column("id", Text, primary_key=True), Column("total", BigInteger, nullable=False, default=0))

@totals.on(Counted)
def counted(recorded: Recorded[Counted]) -> Increment:
    return Increment(recorded.stream.aggregate_id, "total", recorded.event.amount)

asyncio.run(ProjectionRunner(sys.argv[1], [totals]).run())
"""
APPEND = "select * from append_event('counter', %s, 0, 2147483647, %s, 'Counted', 1::smallint, '{\"amount\": 1}', '{}')"
SHOWN = "select coalesce(sum(total), 0)::bigint from counteract_app.totals"


@pytest.fixture
async def old_url(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[str]:
    """A database as the release before has migrated it; that release is in `tmp_path`."""
    unpack_release_before(tmp_path)
    (tmp_path / "totals.py").write_text(PROGRAM)
    name = f"old_{uuid4().hex[:8]}"
    await execute(postgres, f"create database {name}")
    url = postgres.url_of(name)
    command = [sys.executable, "-P", "-m", "counteract.cli", "migrate", "--database-url", url]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    await asyncio.to_thread(subprocess.run, command, env=env, check=True, capture_output=True)
    yield url
    await execute(postgres, f"drop database {name} with (force)")


@contextmanager
def projecting(program: Path, code: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "PYTHONPATH": str(code)}
    process = subprocess.Popen([sys.executable, "-P", str(program), url], env=env)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@dataclass
class Load:
    """Three writers, and what a projection shows of their events."""

    app_url: str
    appended: int = 0
    is_over: bool = False

    async def append(self, number: int) -> None:
        async with await psycopg.AsyncConnection.connect(self.app_url, autocommit=True) as connection:
            while not self.is_over:
                await connection.execute(APPEND, (str(number), uuid4()))
                self.appended += 1
                await asyncio.sleep(0.005)

    async def shown(self, at_least: int) -> int:
        """The sum of the rows, once it is that much."""
        async with (
            asyncio.timeout(90),
            await psycopg.AsyncConnection.connect(self.app_url, autocommit=True) as connection,
        ):
            while (total := await _total(connection)) < at_least:  # noqa: ASYNC110 - it happens in the database
                await asyncio.sleep(0.05)
            return total


async def _total(connection: psycopg.AsyncConnection[Any]) -> int:
    try:
        (total,) = await (await connection.execute(SHOWN)).fetchone() or (0,)
    except psycopg.errors.UndefinedTable:
        return 0
    return int(total)


async def test_projections_go_on_through_an_upgrade(postgres: EmbeddedPostgres, old_url: str, tmp_path: Path) -> None:
    load, program = Load(as_application(postgres, old_url)), tmp_path / "totals.py"
    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(load.append(number)) for number in range(3)]
        with projecting(program, tmp_path, load.app_url) as old, ExitStack() as later:
            await load.shown(1)
            await asyncio.to_thread(migrate, old_url)
            check_schema(old_url)
            await load.shown(load.appended + 1)
            assert old.poll() is None
            new = later.enter_context(projecting(program, ROOT, load.app_url))
            await load.shown(load.appended + 1)
            old.terminate()
            old.wait()
            await load.shown(load.appended + 1)
            load.is_over = True
            await asyncio.wait(writers)
            assert await load.shown(load.appended) == load.appended
            assert new.poll() is None
    async with await psycopg.AsyncConnection.connect(old_url) as connection:
        assert await (await connection.execute("select count(*) from parked_events")).fetchone() == (0,)
