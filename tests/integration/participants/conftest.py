"""A desk over a database with one account, for each test, and an id for a command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from counteract.store import ANY, PostgresEventStore
from tests.integration.participants.desk import Desk
from tests.travel.bank import CardCompany, Deposited, accounts


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    async with PostgresEventStore.open(database_url) as store:
        await store.append(accounts.stream("ann"), [Deposited(amount=100)], expect=ANY)
        yield Desk(store, CardCompany())


@pytest.fixture
def command_id() -> UUID:
    return uuid4()
