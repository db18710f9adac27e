"""pytest fixtures on real servers: `pytest_plugins = ["counteract.dev.fixtures"]` in a conftest.

They need pytest-asyncio, and tests that use them the session's loop (`asyncio_default_test_loop_scope = "session"`).
Each process of pytest-xdist has servers of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import psycopg
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict

from counteract.dev.postgres import EmbeddedPostgres
from counteract.dev.temporal import EmbeddedTemporal
from counteract.store import MasterKey, PostgresEventStore
from counteract.store.postgres.connect import APP_ROLE
from counteract.store.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEMPLATE = "counteract_template"

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres() -> AsyncIterator[EmbeddedPostgres]:
    """One server for the session, with a migrated template to copy databases from."""
    async with EmbeddedPostgres() as server:
        await execute(server, f"CREATE DATABASE {TEMPLATE}")
        await asyncio.to_thread(migrate, server.url_of(TEMPLATE))
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A migrated database for one test alone, as its owner connects to it."""
    async with fresh_database(postgres) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def app_url(postgres: EmbeddedPostgres, database_url: str) -> str:
    """The test's database as the application connects to it: with the right to append and read, and no other."""
    return as_application(postgres, database_url)


@pytest_asyncio.fixture(loop_scope="session")
async def event_store(app_url: str) -> AsyncIterator[PostgresEventStore]:
    """An event store for one test alone."""
    master_key = MasterKey.parse(MasterKey.new())
    async with PostgresEventStore.open(app_url, pool_size=20, master_key=master_key) as store:
        yield store


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal() -> AsyncIterator[EmbeddedTemporal]:
    """One server for the session: let task queues and workflow ids differ from test to test."""
    async with EmbeddedTemporal(ui=False) as server:
        yield server


@contextlib.asynccontextmanager
async def fresh_database(server: EmbeddedPostgres) -> AsyncIterator[str]:
    """A copy of the template for as long as the block lasts. Yields its URL, as the owner connects to it."""
    name = f"test_{next(_numbers)}"
    # Before PostgreSQL 15 the files are copied anyway.
    strategy = "STRATEGY FILE_COPY" if int(server.version.split(".")[0]) >= 15 else ""
    await execute(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} {strategy}")
    try:
        yield server.url_of(name)
    finally:
        # FORCE, so that a test which failed with a connection open fails for its own reason only.
        await execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def as_application(server: EmbeddedPostgres, url: str) -> str:
    """The URL of one of the server's databases, for the role of the application."""
    return server.url_of(str(conninfo_to_dict(url)["dbname"]), role=APP_ROLE)


async def execute(server: EmbeddedPostgres, statement: str) -> None:
    """Run one statement as the server's superuser, outside a transaction."""
    async with await psycopg.AsyncConnection.connect(server.url_of("postgres"), autocommit=True) as connection:
        await connection.execute(statement.encode())
