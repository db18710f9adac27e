"""Many writers at once take turns; no append is lost, and none takes another's place."""

from __future__ import annotations

import asyncio
import random
from itertools import groupby

import pytest

from counteract.errors import WrongExpectedVersion
from counteract.messages import StreamId
from counteract.store.expect import ANY, NO_STREAM, ExactVersion
from counteract.store.port import EventStore
from counteract.store.stored import StoredEvent
from counteract.testing.store_contract.counters import A, Counted, change, counter, counters

WRITERS = 25
APPENDS = 8


class Contending:
    pytestmark = pytest.mark.asyncio

    async def test_of_writers_with_one_expectation_one_wins(self, store: EventStore) -> None:
        assert sum(await asyncio.gather(*(_wins(store, A) for _ in range(20)))) == 1

    async def test_with_any_no_writer_loses_and_each_keeps_its_order(self, store: EventStore) -> None:
        await asyncio.gather(*(_write(store, f"w{number}") for number in range(WRITERS)))
        events = await store.read_stream(A)
        assert [each.version for each in events] == list(range(1, WRITERS * APPENDS * 2 + 1))
        notes = [_counted(each).note for each in events]
        for number in range(WRITERS):
            mine = [note for note in notes if note and note.startswith(f"w{number}:")]
            assert mine == [f"w{number}:{step}:{half}" for step in range(APPENDS) for half in "ab"]

    async def test_with_any_the_events_of_one_append_stay_together(self, store: EventStore) -> None:
        await asyncio.gather(*(_write(store, f"w{number}") for number in range(WRITERS)))
        notes = [_counted(each).note or "" for each in await store.read_stream(A)]
        runs = [append for append, _ in groupby(note.rpartition(":")[0] for note in notes)]
        assert len(runs) == WRITERS * APPENDS

    async def test_each_writer_is_told_the_version_of_its_own_events(self, store: EventStore) -> None:
        answers = await asyncio.gather(*(store.append(A, [Counted(amount=n)], expect=ANY) for n in range(WRITERS)))
        stored = {_counted(each).amount: (each.version, each.position) for each in await store.read_stream(A)}
        assert {n: (each.version, each.position) for n, each in enumerate(answers)} == stored

    async def test_who_loads_decides_and_appends_again_after_a_conflict_loses_nothing(self, store: EventStore) -> None:
        async def increase() -> None:
            for _ in range(100):
                loaded = await store.load(counters, "a")
                try:
                    await store.append(A, [Counted()], expect=ExactVersion(loaded.version))
                except WrongExpectedVersion:
                    continue
                return

        await asyncio.gather(*(increase() for _ in range(10)))
        assert (await store.load(counters, "a")).state == 10

    async def test_two_decisions_that_read_what_the_other_writes_cannot_both_be_made(self, store: EventStore) -> None:
        for pair in range(10):
            left, right = counter(f"left-{pair}"), counter(f"right-{pair}")
            assert sum(await asyncio.gather(_wins(store, left, right), _wins(store, right, left))) == 1

    async def test_appends_over_the_same_streams_in_any_order_all_go_through(self, store: EventStore) -> None:
        streams = [counter(f"shared-{number}") for number in range(6)]
        chance = random.Random(7)  # noqa: S311 - the order of a test

        async def write() -> None:
            for _ in range(APPENDS):
                await store.append_many([change(each, ANY, Counted()) for each in chance.sample(streams, 4)])

        await asyncio.gather(*(write() for _ in range(10)))
        versions = [[each.version for each in await store.read_stream(stream)] for stream in streams]
        assert all(each == list(range(1, len(each) + 1)) for each in versions)
        assert sum(map(len, versions)) == 10 * APPENDS * 4

    async def test_who_follows_the_log_while_it_grows_misses_nothing(self, store: EventStore) -> None:
        writing = asyncio.gather(
            *(store.append(counter(str(n % 7)), [Counted(amount=n)] * 2, expect=ANY) for n in range(60))
        )
        followed: list[StoredEvent] = []
        async with asyncio.timeout(30):
            while len(followed) < 120:
                followed += await store.read(after=followed[-1].position if followed else 0, limit=9)
                await asyncio.sleep(0.001)
        await writing
        assert [each.event_id for each in followed] == [each.event_id for each in await store.read()]


async def _write(store: EventStore, name: str) -> None:
    for step in range(APPENDS):
        await store.append(A, [Counted(note=f"{name}:{step}:{half}") for half in "ab"], expect=ANY)


async def _wins(store: EventStore, stream: StreamId, *reads: StreamId) -> bool:
    """Whether an append to a new stream goes through, if none of those that it reads has begun either."""
    try:
        await store.append_many([*(change(each, NO_STREAM) for each in reads), change(stream, NO_STREAM, Counted())])
    except WrongExpectedVersion:
        return False
    return True


def _counted(event: StoredEvent) -> Counted:
    return Counted.model_validate_json(event.data)
