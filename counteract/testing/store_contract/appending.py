"""An append goes through where its expectation holds, over all its streams or not at all."""

from __future__ import annotations

import pytest

from counteract.errors import AppendTooLarge, WrongExpectedVersion
from counteract.store.expect import ANY, NO_STREAM, STREAM_EXISTS, ExactVersion, Expect
from counteract.store.port import Appended, EventStore
from counteract.testing.store_contract.counters import A, B, C, Counted, change, counter, counters


class Appending:
    pytestmark = pytest.mark.asyncio

    async def test_what_was_appended_is_loaded(self, store: EventStore) -> None:
        appended = await store.append(A, [Counted(amount=2), Counted(amount=3)], expect=NO_STREAM)
        loaded = await store.load(counters, "a")
        assert appended.version == 2
        assert (loaded.state, loaded.version, loaded.stream) == (5, 2, A)

    async def test_a_stream_without_events_loads_as_the_initial_state(self, store: EventStore) -> None:
        loaded = await store.load(counters, "nobody")
        assert (loaded.state, loaded.version) == (0, 0)

    @pytest.mark.parametrize(
        ("existing", "expect"),
        [
            (0, NO_STREAM),
            (1, STREAM_EXISTS),
            (0, ANY),
            (2, ANY),
            (0, ExactVersion(0)),
            (2, ExactVersion(2)),
            (2, Expect(1, 2)),
        ],
    )
    @pytest.mark.parametrize("count", [1, 2])
    async def test_an_append_goes_through_where_its_expectation_holds(
        self, store: EventStore, existing: int, expect: Expect, count: int
    ) -> None:
        await store.append(A, [Counted()] * existing, expect=ANY)
        assert (await store.append(A, [Counted()] * count, expect=expect)).version == existing + count

    @pytest.mark.parametrize(
        ("existing", "expect"),
        [(1, NO_STREAM), (0, STREAM_EXISTS), (2, ExactVersion(1)), (2, ExactVersion(3)), (3, Expect(1, 2))],
    )
    @pytest.mark.parametrize("count", [1, 2])
    async def test_a_conflict_names_the_stream_and_both_versions_and_appends_nothing(
        self, store: EventStore, existing: int, expect: Expect, count: int
    ) -> None:
        await store.append(A, [Counted()] * existing, expect=ANY)
        with pytest.raises(WrongExpectedVersion) as caught:
            await store.append(A, [Counted()] * count, expect=expect)
        assert (caught.value.stream, caught.value.expected, caught.value.actual) == (A, str(expect), existing)
        assert (await store.load(counters, "a")).version == existing

    async def test_many_streams_are_appended_to_or_none(self, store: EventStore) -> None:
        await store.append(B, [Counted()], expect=NO_STREAM)
        with pytest.raises(WrongExpectedVersion) as caught:
            await store.append_many([change(A, NO_STREAM, Counted()), change(B, NO_STREAM, Counted())])
        assert caught.value.stream == B
        assert [each.stream for each in await store.read()] == [B]

    async def test_each_stream_gets_its_answer_and_events_keep_their_order(self, store: EventStore) -> None:
        await store.append(B, [Counted()], expect=NO_STREAM)
        answers = await store.append_many(
            [
                change(B, ExactVersion(1), Counted(), Counted()),
                change(C, NO_STREAM),
                change(A, NO_STREAM, Counted()),
            ]
        )
        _, *events = await store.read()
        assert [(each.stream, each.version) for each in events] == [(B, 2), (B, 3), (A, 1)]
        b, c, a = (each.position for each in events)
        assert answers == [Appended(3, c, (b, c)), Appended(0, 0), Appended(1, a, (a,))]

    async def test_an_append_without_events_only_checks(self, store: EventStore) -> None:
        assert await store.append(A, [], expect=NO_STREAM) == Appended(0, 0)
        with pytest.raises(WrongExpectedVersion):
            await store.append(A, [], expect=STREAM_EXISTS)
        assert await store.read() == []

    async def test_a_stream_that_is_only_checked_stops_the_others(self, store: EventStore) -> None:
        with pytest.raises(WrongExpectedVersion):
            await store.append_many([change(A, NO_STREAM, Counted()), change(B, STREAM_EXISTS)])
        assert await store.read() == []

    async def test_a_stream_that_is_named_twice_is_refused(self, store: EventStore) -> None:
        with pytest.raises(ValueError, match="twice"):
            await store.append_many([change(A, ANY, Counted()), change(A, ANY, Counted())])

    async def test_an_id_for_each_event_or_for_none(self, store: EventStore) -> None:
        with pytest.raises(ValueError, match="0 event ids for 1 events"):
            await store.append(A, [Counted()], expect=ANY, event_ids=[])

    async def test_256_streams_are_the_most(self, store: EventStore) -> None:
        changes = [change(counter(str(number)), NO_STREAM, Counted()) for number in range(257)]
        with pytest.raises(AppendTooLarge, match="at most 256 streams"):
            await store.append_many(changes)
        assert len(await store.append_many(changes[:256])) == 256

    @pytest.mark.parametrize("size", [1, 2, 999, 10_000])
    async def test_a_batch_is_stored_whole_and_in_order(self, store: EventStore, size: int) -> None:
        appended = await store.append(A, [Counted(amount=number) for number in range(size)], expect=NO_STREAM)
        events = await store.read_stream(A)
        assert [Counted.model_validate_json(each.data).amount for each in events] == list(range(size))
        assert [each.version for each in events] == list(range(1, size + 1))
        assert appended == Appended(size, events[-1].position, tuple(each.position for each in events))

    async def test_10_000_events_are_the_most(self, store: EventStore) -> None:
        with pytest.raises(AppendTooLarge, match="at most 10000 events, this one has 10001: split it"):
            await store.append(A, [Counted()] * 10_001, expect=ANY)
        assert await store.read() == []

    async def test_16_mebibytes_are_the_most(self, store: EventStore) -> None:
        with pytest.raises(AppendTooLarge, match="at most 16777216 bytes"):
            await store.append(A, [Counted(note="x" * 900_000)] * 19, expect=ANY)
        with pytest.raises(AppendTooLarge, match="at most 16777216 bytes"):
            await store.append(A, [Counted()] * 10_000, expect=ANY, metadata={"why": "x" * 2000})
        assert await store.read() == []
