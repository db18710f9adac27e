"""The global order, and streams within it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest

from counteract.errors import UnknownEventType, UnreadableEvent
from counteract.store.expect import ANY
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
        """No folding of case, of spaces or of forms of one character."""
        names = ["a", "A", "a ", " a", "\u00e9", "e\u0301", "", "a/b", "a\\b", "%", "'", "\U0001f600"]
        for name in names:
            await store.append(counters.stream(name), [Counted()], expect=ANY)
        assert [each.stream.aggregate_id for each in await store.read()] == names
        assert {(await store.load(counters, name)).version for name in names} == {1}

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
