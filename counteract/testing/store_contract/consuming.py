"""A consumer's checkpoint moves on with what it appends: for each position once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from counteract.errors import CheckpointPassed, WrongExpectedVersion
from counteract.store.expect import ANY, STREAM_EXISTS
from counteract.store.port import EventStore
from counteract.store.terms import Checkpoint
from counteract.testing.store_contract.counters import A, Counted, counter


class Consuming:
    pytestmark = pytest.mark.asyncio

    async def test_a_checkpoint_moves_on_with_the_events(self, store: EventStore) -> None:
        assert await store.checkpoint("orders") == 0
        await store.append(A, [Counted()], expect=ANY, checkpoint=Checkpoint("orders", 7))
        assert await store.checkpoint("orders") == 7
        await store.append(A, [Counted()], expect=ANY, checkpoint=Checkpoint("orders", 9, after=7))
        assert await store.checkpoint("orders") == 9
        assert await store.checkpoint("others") == 0

    @pytest.mark.parametrize("position", [1, 7])
    async def test_a_position_is_taken_once(self, store: EventStore, position: int) -> None:
        await store.append(A, [Counted()], expect=ANY, checkpoint=Checkpoint("orders", 7))
        with pytest.raises(CheckpointPassed, match="'orders' is at 7") as caught:
            await store.append(A, [Counted()], expect=ANY, checkpoint=Checkpoint("orders", position))
        assert (caught.value.name, caught.value.position) == ("orders", 7)
        assert len(await store.read_stream(A)) == 1

    @pytest.mark.parametrize(("there", "after"), [(0, 3), (4, 0), (4, 3), (4, 5)])
    async def test_a_checkpoint_that_is_not_where_it_was_expected_stays(
        self, store: EventStore, there: int, after: int
    ) -> None:
        if there:
            await store.append_many([], checkpoint=Checkpoint("orders", there))
        with pytest.raises(CheckpointPassed) as caught:
            await store.append(A, [Counted()], expect=ANY, checkpoint=Checkpoint("orders", 9, after=after))
        assert caught.value.position == await store.checkpoint("orders") == there
        assert await store.read() == []

    async def test_what_leads_to_no_event_moves_it_on_too(self, store: EventStore) -> None:
        assert await store.append_many([], checkpoint=Checkpoint("orders", 1, after=0)) == []
        assert await store.checkpoint("orders") == 1

    async def test_an_append_that_is_refused_leaves_it(self, store: EventStore) -> None:
        with pytest.raises(WrongExpectedVersion):
            await store.append(A, [Counted()], expect=STREAM_EXISTS, checkpoint=Checkpoint("orders", 7))
        assert await store.checkpoint("orders") == 0

    async def test_an_append_repeated_is_what_it_was(self, store: EventStore) -> None:
        ids, checkpoint = [uuid4()], Checkpoint("orders", 7, after=0)
        first = await store.append(A, [Counted()], expect=ANY, event_ids=ids, checkpoint=checkpoint)
        assert await store.append(A, [Counted()], expect=ANY, event_ids=ids, checkpoint=checkpoint) == first
        assert await store.checkpoint("orders") == 7

    async def test_an_append_repeated_takes_a_further_position_along(self, store: EventStore) -> None:
        ids = [uuid4()]
        first = await store.append(A, [Counted()], expect=ANY, event_ids=ids, checkpoint=Checkpoint("orders", 5))
        repeat = await store.append(
            A, [Counted()], expect=ANY, event_ids=ids, checkpoint=Checkpoint("orders", 6, after=5)
        )
        assert repeat == first
        assert await store.checkpoint("orders") == 6

    async def test_of_many_that_come_to_one_position_one_appends(self, store: EventStore) -> None:
        async def consume(number: int) -> bool:
            try:
                await store.append(
                    counter(str(number)), [Counted()], expect=ANY, checkpoint=Checkpoint("orders", 1, after=0)
                )
            except CheckpointPassed:
                return False
            return True

        assert sum(await asyncio.gather(*(consume(number) for number in range(6)))) == 1
        assert len(await store.read()) == 1

    @pytest.mark.parametrize(("name", "position"), [("", 1), ("x" * 1025, 1), ("a\x00", 1), ("a", 0), ("a", 2**63)])
    async def test_what_no_checkpoint_can_be_is_refused(self, name: str, position: int) -> None:
        with pytest.raises(ValueError, match="a checkpoint"):
            Checkpoint(name, position)
