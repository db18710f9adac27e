"""Whoever can only write to the database makes no process with the master key believe a state that does not follow from the events."""

from __future__ import annotations

import psycopg
import pytest

from counteract.store import NO_STREAM, MasterKey, PostgresEventStore
from tests.counters import Counted, counter, counters

pytestmark = pytest.mark.integration

KEY = MasterKey.new()


async def counted(url: str, key: str | None, *, of: str = "a", amounts: int = 0) -> int:
    """What a process that begins now takes for the state, once it has appended so many."""
    master_key = MasterKey.parse(key) if key else None
    async with PostgresEventStore.open(url, snapshot_every=2, master_key=master_key) as store:
        if amounts:
            await store.append(counter(of), [Counted(amount=1)] * amounts, expect=NO_STREAM)
        return (await store.load(counters, of)).state


def written(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as application:
        found = application.execute(statement.encode())
        return found.fetchall() if found.description else found.rowcount


FORGERIES = {
    "another state": "update snapshots set state = '7777777' where aggregate_id = 'a'",
    "no signature": "update snapshots set state = '7777777', signature = null where aggregate_id = 'a'",
    "half a signature": "update snapshots set state = '7777777', signature = substr(signature, 1, 16) where aggregate_id = 'a'",
    "another stream's": "update snapshots a set state = b.state, signature = b.signature from snapshots b "
    "where a.aggregate_id = 'a' and b.aggregate_id = 'b'",
    "another version's": "update snapshots set version = 3 where aggregate_id = 'a'",
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_snapshot_is_left_aside_and_replaced(app_url: str, forgery: str) -> None:
    assert await counted(app_url, KEY, amounts=4) == 4
    assert await counted(app_url, KEY, of="b", amounts=6) == 6
    true = written(app_url, "select version, state, signature from snapshots where aggregate_id = 'a'")
    assert written(app_url, forgery) == 1
    assert await counted(app_url, KEY) == 4
    assert written(app_url, "select version, state, signature from snapshots where aggregate_id = 'a'") == true


async def test_a_snapshot_of_ours_is_gone_on_from(app_url: str, database_url: str) -> None:
    assert await counted(app_url, KEY, amounts=4) == 4
    with psycopg.connect(database_url, autocommit=True) as owner:
        # So that nothing but the snapshot can say it.
        owner.execute("alter table events disable trigger all")
        owner.execute("update events set event_data = jsonb_set(event_data, '{amount}', '5')")
    assert await counted(app_url, KEY) == 4
    assert await counted(app_url, f"{MasterKey.new()},{KEY}") == 4


async def test_what_another_key_has_signed_is_not_ours(app_url: str) -> None:
    assert await counted(app_url, KEY, amounts=4) == 4
    before = written(app_url, "select signature from snapshots")
    assert await counted(app_url, MasterKey.new()) == 4
    assert written(app_url, "select signature from snapshots") != before
