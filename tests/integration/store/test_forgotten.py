"""A store whose server loses its last commits while the process goes on."""

from __future__ import annotations

import pytest

from counteract import Decider, Event
from counteract.dev import EmbeddedPostgres
from counteract.dev.forgetting import forgetting
from counteract.errors import StoreUnavailable
from counteract.store import ANY, NO_STREAM, Loaded, PostgresEventStore

pytestmark = pytest.mark.integration


class Deposited(Event):
    amount: int


def evolve(balance: int, event: Deposited) -> int:
    return balance + event.amount


accounts = Decider("forgetful-account", initial=0, evolve=evolve, events=Deposited)


async def balance(store: PostgresEventStore) -> Loaded[int]:
    while True:
        try:
            return await store.load(accounts, "ann")
        except StoreUnavailable:  # the first one on each connection of the server that is gone
            continue


async def test_a_state_in_memory_is_not_relied_upon_once_the_server_has_lost_commits(server: EmbeddedPostgres) -> None:
    async with PostgresEventStore.open(server.app_url) as store:
        await store.append(accounts.stream("ann"), [Deposited(amount=10)], expect=NO_STREAM)
        async with forgetting(server):
            await store.append(accounts.stream("ann"), [Deposited(amount=1000)], expect=ANY)
            assert (await balance(store)).state == 1010

        assert (await balance(store)).state == 10


async def test_nor_where_the_stream_has_grown_as_long_again_since(server: EmbeddedPostgres) -> None:
    async with PostgresEventStore.open(server.app_url) as store:
        await store.append(accounts.stream("ann"), [Deposited(amount=10)], expect=NO_STREAM)
        async with forgetting(server):
            await store.append(accounts.stream("ann"), [Deposited(amount=1000)], expect=ANY)
            assert (await balance(store)).state == 1010
        async with PostgresEventStore.open(server.app_url) as another:
            await another.append(accounts.stream("ann"), [Deposited(amount=1)], expect=ANY)

        assert (await balance(store)).state == 11
