"""Events are read in the order of the log, and in that of their stream."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest

from counteract.errors import NoSuchVersion, UnknownEventType, UnreadableEvent
from counteract.messages import StreamId
from counteract.store.expect import ANY
from counteract.store.moment import AtPosition, AtVersion
from counteract.store.port import EventStore
from counteract.testing.store_contract.counters import (
    A,
    B,
    C,
    Counted,
    CountedInWords,
    CountedMore,
    change,
    counters,
)


class Reading:
    pytestmark = pytest.mark.asyncio

    async def test_an_empty_store_has_no_events_and_no_mark(self, store: EventStore) -> None:
        assert await store.read() == []
        assert await store.read_stream(A) == []
        assert await store.high_water_mark() == 0

    async def test_events_are_read_in_the_order_of_their_appends(self, store: EventStore) -> None:
        for stream in (B, A, B, C, A):
            await store.append(stream, [Counted()], expect=ANY)
        events = await store.read()
        assert [(each.stream, each.version) for each in events] == [(B, 1), (A, 1), (B, 2), (C, 1), (A, 2)]
        assert all(before.position < after.position for before, after in pairwise(events))

    async def test_pages_follow_one_another_without_gap_or_overlap(self, store: EventStore) -> None:
        await store.append_many([change(A, ANY, *[Counted()] * 3), change(B, ANY, *[Counted()] * 4)])
        everything = await store.read()
        pages = [await store.read(limit=3)]
        while pages[-1]:
            pages.append(await store.read(after=pages[-1][-1].position, limit=3))
        assert [len(page) for page in pages] == [3, 3, 1, 0]
        assert [each for page in pages for each in page] == everything

    async def test_a_read_takes_what_is_after_one_position_and_up_to_another(self, store: EventStore) -> None:
        await store.append(A, [Counted()] * 5, expect=ANY)
        positions = [each.position for each in await store.read()]
        found = await store.read(after=positions[0], up_to=positions[3])
        assert [each.position for each in found] == positions[1:4]

    async def test_what_has_returned_is_below_the_mark(self, store: EventStore) -> None:
        appended = await store.append(A, [Counted()], expect=ANY)
        assert await store.high_water_mark() >= appended.position

    async def test_what_is_appended_later_is_above_the_mark(self, store: EventStore) -> None:
        await store.append(A, [Counted()], expect=ANY)
        mark = await store.high_water_mark()
        await store.append(A, [Counted()], expect=ANY)
        assert [each.version for each in await store.read(up_to=mark)] == [1]
        assert [each.version for each in await store.read(after=mark)] == [2]

    async def test_a_stream_is_read_after_a_version(self, store: EventStore) -> None:
        await store.append_many([change(A, ANY, Counted(), Counted(), Counted()), change(B, ANY, Counted())])
        assert [each.version for each in await store.read_stream(A, after_version=1)] == [2, 3]
        assert await store.read_stream(A, after_version=3) == []

    async def test_a_stream_is_read_in_pages_both_ways(self, store: EventStore) -> None:
        await store.append_many([change(A, ANY, *[Counted()] * 5), change(B, ANY, *[Counted()] * 5)])
        forwards = await store.read_stream(A, after_version=1, before_version=5, limit=2)
        backwards = await store.read_stream(A, before_version=5, limit=3, backwards=True)
        assert [(each.stream, each.version) for each in forwards] == [(A, 2), (A, 3)]
        assert [(each.stream, each.version) for each in backwards] == [(A, 4), (A, 3), (A, 2)]

    async def test_the_log_is_read_backwards_in_pages(self, store: EventStore) -> None:
        await store.append_many([change(A, ANY, *[Counted()] * 3), change(B, ANY, *[Counted()] * 2)])
        everything = await store.read()
        newest = await store.read(limit=2, backwards=True)
        older = await store.read(limit=9, up_to=newest[-1].position - 1, backwards=True)
        assert [*newest, *older] == everything[::-1]

    async def test_a_category_types_and_a_correlation_id_select(self, store: EventStore) -> None:
        other = StreamId("other", "a")
        await store.append(A, [Counted(), CountedMore(amounts=[1])], expect=ANY, metadata={"correlation_id": "x"})
        await store.append(other, [Counted()], expect=ANY, metadata={"correlation_id": "x"})
        await store.append(B, [CountedMore(amounts=[1])], expect=ANY, metadata={"correlation_id": "y"})
        first, second, third, fourth = await store.read()
        assert await store.read(category=A.aggregate_type) == [first, second, fourth]
        assert await store.read(event_types=["Counted", "Unknown"]) == [first, third]
        assert await store.read(event_types=[]) == []
        assert await store.read(correlation_id="x") == [first, second, third]
        assert await store.read(correlation_id="z") == []
        assert await store.read(correlation_id="x", category=A.aggregate_type, event_types=["Counted"]) == [first]
        assert await store.read(category=A.aggregate_type, backwards=True, limit=2) == [fourth, second]
        assert await store.read(correlation_id="x", after=first.position, limit=1) == [second]

    async def test_an_event_says_where_it_stands_and_what_it_is(self, store: EventStore) -> None:
        event_id, before = uuid4(), datetime.now(UTC)
        appended = await store.append(A, [Counted(amount=3)], expect=ANY, event_ids=[event_id])
        (event,) = await store.read()
        assert (event.stream, event.version, event.position) == (A, 1, appended.position)
        assert (event.event_id, event.event_type, event.schema_version) == (event_id, "Counted", 1)
        assert Counted.model_validate_json(event.data) == Counted(amount=3)
        assert event.recorded_at.utcoffset() == timedelta(0)
        assert abs(event.recorded_at - before) < timedelta(minutes=1)

    async def test_a_stream_and_the_log_show_the_same_events(self, store: EventStore) -> None:
        await store.append(A, [Counted(), Counted()], expect=ANY, metadata={"why": "x"})
        assert await store.read_stream(A) == await store.read()

    async def test_ids_differ_in_every_byte(self, store: EventStore) -> None:
        """Case, spaces and forms of one character are not folded."""
        names = ["a", "A", "a ", " a", "\u00e9", "e\u0301", "", "a/b", "a\\b", "%", "'", "\U0001f600"]
        for name in names:
            await store.append(counters.stream(name), [Counted()], expect=ANY)
        assert [each.stream.aggregate_id for each in await store.read()] == names
        assert {(await store.load(counters, name)).version for name in names} == {1}

    async def test_a_stream_is_loaded_as_it_was_at_a_version(self, store: EventStore) -> None:
        await store.append(A, [Counted(amount=2), Counted(amount=3)], expect=ANY)
        loaded = [await store.load(counters, "a", at=AtVersion(version)) for version in range(3)]
        assert [(each.state, each.version) for each in loaded] == [(0, 0), (2, 1), (5, 2)]

    async def test_a_version_that_was_never_reached_is_an_error(self, store: EventStore) -> None:
        await store.append(A, [Counted()], expect=ANY)
        with pytest.raises(NoSuchVersion, match="at version 1, and was never at 2"):
            await store.load(counters, "a", at=AtVersion(2))

    async def test_streams_are_loaded_as_they_were_at_one_position(self, store: EventStore) -> None:
        first = await store.append(A, [Counted(amount=2)], expect=ANY)
        await store.append(B, [Counted()], expect=ANY)
        await store.append(A, [Counted()], expect=ANY)
        moment = AtPosition(first.position)
        assert [(await store.load(counters, name, at=moment)).state for name in "ab"] == [2, 0]

    async def test_a_stream_is_loaded_as_it_was_at_a_time(self, store: EventStore) -> None:
        await store.append(A, [Counted(amount=2)], expect=ANY)
        await asyncio.sleep(0.01)
        await store.append(A, [Counted()], expect=ANY)
        first, second = await store.read()
        between = first.recorded_at + (second.recorded_at - first.recorded_at) / 2
        assert (await store.load(counters, "a", at=between)).state == 2
        assert (await store.load(counters, "a", at=first.recorded_at - timedelta(hours=1))).version == 0

    async def test_a_time_without_a_zone_is_refused(self, store: EventStore) -> None:
        with pytest.raises(ValueError, match="needs its zone"):
            await store.load(counters, "a", at=datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake in question

    async def test_an_event_that_the_decider_does_not_know_is_an_error(self, store: EventStore) -> None:
        await store.append(A, [CountedMore(amounts=[1])], expect=ANY)
        with pytest.raises(UnknownEventType, match="CountedMore v1"):
            await store.load(counters, "a")

    async def test_an_event_that_does_not_fit_is_an_error_that_keeps_its_content_to_itself(
        self, store: EventStore
    ) -> None:
        await store.append(A, [CountedInWords(amount="secret")], expect=ANY)
        with pytest.raises(UnreadableEvent, match="Counted v1 does not fit its class: amount") as caught:
            await store.load(counters, "a")
        assert "secret" not in str(caught.value)

    async def test_an_event_that_nobody_can_read_is_still_in_the_log(self, store: EventStore) -> None:
        await store.append(A, [CountedInWords(amount="many"), Counted()], expect=ANY)
        assert [each.event_type for each in await store.read()] == ["Counted", "Counted"]
