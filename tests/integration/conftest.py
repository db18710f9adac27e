"""The agency with its sagas, for the whole session; a store to write to and an engine to look with; another database;
and folders in which PostgreSQL can have files of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract.dev import EmbeddedPostgres, EmbeddedTemporal
from counteract.dev.fixtures import fresh_database
from counteract.store import PostgresEventStore
from counteract.store.postgres.connect import async_engine
from tests.travel import own_code, park_on_failure, races, several_runs
from tests.travel.agency import Agency
from tests.travel.agency_sagas import SAGAS
from tests.travel.trips import Trip


@pytest.fixture(scope="session")
async def agency(temporal: EmbeddedTemporal) -> AsyncIterator[Agency]:
    agency = Agency()
    others = [*races.WORKFLOWS, *own_code.WORKFLOWS, *park_on_failure.WORKFLOWS]
    async with agency.open(temporal.address, SAGAS, workflows=[Trip, several_runs.Journey, *others]):
        yield agency


@pytest.fixture
async def store(app_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(app_url) as store:
        yield store


@pytest.fixture
async def engine(app_url: str) -> AsyncIterator[AsyncEngine]:
    engine = async_engine(app_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def another_database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    async with fresh_database(postgres) as url:
        yield url


@pytest.fixture
def trip() -> str:
    return f"trip-{uuid4().hex[:12]}"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder outside pytest's own.

    Under root PostgreSQL runs as another user, who must get through the folders above; pytest takes that right away
    from its own folder whenever another session of it starts.
    """
    with tempfile.TemporaryDirectory(prefix="counteract-test-") as folder:
        yield Path(folder)
