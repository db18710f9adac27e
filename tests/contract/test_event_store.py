"""Every adapter of the event store's port passes the suite that users get."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from counteract.dev import EmbeddedPostgres
from counteract.store import EventStore, MasterKey, PostgresEventStore
from counteract.testing import InMemoryEventStore, StoreContract
from tests.pgbouncer import Bouncer, running

pytestmark = pytest.mark.contract


class TestPostgres(StoreContract):
    @pytest.fixture
    def store(self, event_store: PostgresEventStore) -> EventStore:
        return event_store


@pytest.fixture(scope="module")
async def pooler(postgres: EmbeddedPostgres) -> AsyncIterator[Bouncer]:
    async with running(postgres) as pooler:
        yield pooler


class TestThroughAPooler(StoreContract):
    @pytest.fixture
    async def store(self, pooler: Bouncer, app_url: str) -> AsyncIterator[EventStore]:
        master_key = MasterKey.parse(MasterKey.new())
        async with PostgresEventStore.open(pooler.through(app_url), pool_size=20, master_key=master_key) as store:
            yield store


class TestInMemory(StoreContract):
    @pytest.fixture
    def store(self) -> EventStore:
        return InMemoryEventStore()
