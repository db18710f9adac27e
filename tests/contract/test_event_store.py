"""Every adapter of the event store's port passes the suite that users get."""

from __future__ import annotations

import pytest

from counteract.store import EventStore, PostgresEventStore
from counteract.testing import InMemoryEventStore, StoreContract

pytestmark = pytest.mark.contract


class TestPostgres(StoreContract):
    @pytest.fixture
    def store(self, event_store: PostgresEventStore) -> EventStore:
        return event_store


class TestInMemory(StoreContract):
    @pytest.fixture
    def store(self) -> EventStore:
        return InMemoryEventStore()
