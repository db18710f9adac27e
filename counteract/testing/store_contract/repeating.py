"""An append with event ids that are stored already changes nothing, and no other event is taken for the first."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from counteract.errors import EventIdReused
from counteract.messages import Event, StreamId
from counteract.store.expect import ANY, NO_STREAM, Expect, StreamChange
from counteract.store.port import EventStore
from counteract.testing.store_contract.counters import A, B, Counted, CountedMore, Noted, change, counters


class Repeating:
    pytestmark = pytest.mark.asyncio

    @pytest.mark.parametrize("expect", [NO_STREAM, ANY])
    @pytest.mark.parametrize("count", [1, 2])
    async def test_a_repeat_returns_what_the_first_append_did(
        self, store: EventStore, expect: Expect, count: int
    ) -> None:
        ids = [uuid4() for _ in range(count)]
        first = await store.append(A, [Counted()] * count, expect=expect, event_ids=ids)
        await store.append(A, [Counted()], expect=ANY)
        assert await store.append(A, [Counted()] * count, expect=expect, event_ids=ids) == first
        assert (await store.load(counters, "a")).version == count + 1

    async def test_a_repeat_over_many_streams_answers_for_those_that_were_only_checked_too(
        self, store: EventStore
    ) -> None:
        changes = [change(A, NO_STREAM, Counted()), change(B, NO_STREAM)]
        ids = [uuid4()]
        first = await store.append_many(changes, event_ids=ids)
        assert await store.append_many(changes, event_ids=ids) == first

    async def test_a_repeat_may_carry_other_metadata_and_changes_none(self, store: EventStore) -> None:
        ids = [uuid4()]
        first = await store.append(A, [Counted()], expect=ANY, event_ids=ids, metadata={"attempt": 1})
        assert await store.append(A, [Counted()], expect=ANY, event_ids=ids, metadata={"attempt": 2}) == first
        assert [each.metadata for each in await store.read()] == [{"attempt": 1}]

    async def test_the_same_append_at_the_same_time_is_one_append(self, store: EventStore) -> None:
        ids = [uuid4()]
        answers = await asyncio.gather(
            *(store.append(A, [Counted()], expect=NO_STREAM, event_ids=ids) for _ in range(8))
        )
        assert len(set(answers)) == 1
        assert (await store.load(counters, "a")).version == 1

    @pytest.mark.parametrize(
        ("stream", "event"),
        [(A, Counted(amount=2)), (A, CountedMore(amounts=[1])), (B, Counted())],
        ids=["other data", "another type", "another stream"],
    )
    async def test_an_id_with_other_content_is_refused(self, store: EventStore, stream: StreamId, event: Event) -> None:
        ids = [uuid4()]
        await store.append(A, [Counted()], expect=ANY, event_ids=ids)
        with pytest.raises(EventIdReused, match=str(ids[0])):
            await store.append(stream, [event], expect=ANY, event_ids=ids)
        assert len(await store.read()) == 1

    @pytest.mark.parametrize(("first", "other"), [(1, True), (0, False), (2**53, 2**53 + 1), ("1", 1), (None, 0)])
    async def test_values_that_are_only_alike_are_other_content(
        self, store: EventStore, first: object, other: object
    ) -> None:
        ids = [uuid4()]
        await store.append(A, [Noted(note=first)], expect=ANY, event_ids=ids)
        with pytest.raises(EventIdReused):
            await store.append(A, [Noted(note=other)], expect=ANY, event_ids=ids)

    async def test_the_order_of_keys_is_no_content(self, store: EventStore) -> None:
        ids = [uuid4()]
        first = await store.append(A, [Noted(note={"a": 1, "b": 2})], expect=ANY, event_ids=ids)
        assert await store.append(A, [Noted(note={"b": 2, "a": 1})], expect=ANY, event_ids=ids) == first

    @pytest.mark.parametrize("others", [[], [change(B, NO_STREAM)]])
    async def test_old_ids_among_new_ones_are_refused(self, store: EventStore, others: list[StreamChange]) -> None:
        old, new = uuid4(), uuid4()
        await store.append(A, [Counted()], expect=ANY, event_ids=[old])
        for ids in ([old, new], [new, old]):
            with pytest.raises(EventIdReused, match=str(new)):
                await store.append_many([change(A, ANY, Counted(), Counted()), *others], event_ids=ids)
        assert len(await store.read()) == 1

    async def test_one_id_twice_in_a_call_is_refused(self, store: EventStore) -> None:
        with pytest.raises(EventIdReused):
            await store.append(A, [Counted(), Counted()], expect=ANY, event_ids=[uuid4()] * 2)
        assert await store.read() == []

    async def test_an_id_whose_append_was_refused_is_still_free(self, store: EventStore) -> None:
        await store.append(B, [Counted()], expect=NO_STREAM)
        ids = [uuid4(), uuid4()]
        with pytest.raises(Exception, match="expected no stream"):
            await store.append_many([change(A, NO_STREAM, Counted()), change(B, NO_STREAM, Counted())], event_ids=ids)
        assert (await store.append(A, [Counted(), Counted()], expect=NO_STREAM, event_ids=ids)).version == 2
