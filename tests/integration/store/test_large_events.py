"""Large events go through every reader in little memory: pages, batches and caches have a bound in bytes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from counteract.dev.fixtures import as_application, fresh_database
from counteract.dev.postgres import EmbeddedPostgres
from counteract.store import ANY, PostgresEventStore
from counteract.store.postgres.load import Known, Memory
from counteract.store.stored import PAGE_BYTES
from tests.counters import Counted, counter, counters

pytestmark = [pytest.mark.integration, pytest.mark.long]

EVENTS, SIZE = 120, 400_000
"""Together 48 MB: were they in memory at once, as text and as objects, twice that and more."""
MOST_MB = 45
"""More than what a process takes that only opens the store."""
A = counter("a")


async def fill(url: str, *, compressible: bool) -> None:
    async with PostgresEventStore.open(url) as store:
        for _ in range(EVENTS // 30):
            notes = ["x" * SIZE if compressible else os.urandom(SIZE // 2).hex() for _ in range(30)]
            await store.append(A, [Counted(note=note) for note in notes], expect=ANY)


@pytest.fixture(scope="module", params=[False, True], ids=["random", "compressible"])
async def full(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> AsyncIterator[tuple[str, bool]]:
    async with fresh_database(postgres) as owner:
        url = as_application(postgres, owner)
        await fill(url, compressible=request.param)
        yield url, not request.param


async def memory_of(url: str, what: str) -> tuple[Any, int]:
    """What another process answers, and its most memory, in MB."""
    arguments = [sys.executable, "-m", "tests.integration.store.large_events", url, what]
    done = await asyncio.to_thread(
        subprocess.run, arguments, capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    answer, most = json.loads(done.stdout)
    return answer, most


async def test_large_events_take_little_memory_in_whatever_way_they_are_read(full: tuple[str, bool]) -> None:
    url, is_random = full
    ways = ["open", "load", "project", *(["read", "export", "verify"] if is_random else [])]
    found = {each: await memory_of(url, each) for each in ways}
    _, least = found["open"]
    assert {answer for answer, _ in found.values()} == {EVENTS}
    assert {way: most - least for way, (_, most) in found.items() if most - least > MOST_MB} == {}


async def test_a_page_by_default_is_shorter_where_events_are_large_and_misses_none(
    event_store: PostgresEventStore,
) -> None:
    for _ in range(30):
        await event_store.append(A, [Counted(note="y" * 1000), Counted(note=os.urandom(350_000).hex())], expect=ANY)
    after, sizes = 0, []
    while page := await event_store.read(after=after):
        sizes.append(len(page))
        assert sum(len(event.data) for event in page) < PAGE_BYTES + 1_000_000
        after = page[-1].position
    assert sum(sizes) == 60
    assert len(sizes) > 2
    assert len(await event_store.read(limit=60)) == 60
    assert (await event_store.load(counters, "a")).state == 60
    backwards = await event_store.read(backwards=True, event_types=["Counted"])
    assert [event.position for event in backwards] == list(range(60, 60 - len(backwards), -1))
    assert len(backwards) < 60


def kept_in(memory: Memory, names: str) -> str:
    return "".join(name for name in names if memory.find(counters, name))


def test_states_leave_memory_by_the_bytes_that_they_come_from() -> None:
    memory = Memory(1000, most_bytes=100)
    for name in "abcdef":
        memory.keep(counters, name, Known(1, 1, 0, bytes=20))
    assert kept_in(memory, "abcdef") == "bcdef"
    memory.drop(counters, "b")
    memory.keep(counters, "g", Known(1, 1, 0, bytes=20))
    assert kept_in(memory, "cdefg") == "cdefg"


def test_a_state_of_a_long_stream_leaves_the_others_in_memory() -> None:
    memory = Memory(1000, most_bytes=100)
    for name in "abc":
        memory.keep(counters, name, Known(1, 1, 0, bytes=25))
    for version in range(1, 5):
        memory.keep(counters, "d", Known(1, version, 0, bytes=1000 * version))
    assert kept_in(memory, "abcd") == "abcd"


def test_states_of_long_streams_leave_memory_for_one_another() -> None:
    memory = Memory(1000, most_bytes=100)
    for name in "abcde":
        memory.keep(counters, name, Known(1, 1, 0, bytes=1000))
    assert kept_in(memory, "abcde") == "bcde"
