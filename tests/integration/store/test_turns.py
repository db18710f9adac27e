"""Those who have lost a race take turns: how many attempts it takes when everybody wants the same."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from counteract import Decider, Event, StreamId
from counteract.store import NO_STREAM, PostgresEventStore, Query, decide, decide_where
from counteract.store.turns import in_turn

pytestmark = pytest.mark.integration

WRITERS = 16


class Seated(Event, tags=lambda event: [event.room]):
    """Somebody has a seat."""

    room: str


class Counted:
    """Counts the decisions that were made of each number of seats."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.decisions = 0

    def __call__(self, seats: int) -> list[Seated]:
        self.decisions += 1
        return [Seated(room=self.room)]


seats: Decider[int, Seated] = Decider("room", initial=0, evolve=lambda taken, _: taken + 1, events=Seated)


@pytest.fixture
def room() -> str:
    return f"room:{uuid4()}"


async def test_writers_of_one_stream_decide_little_more_than_twice_each(store: PostgresEventStore, room: str) -> None:
    decision = Counted(room)

    await asyncio.gather(*(decide(store, seats, room, decision) for _ in range(WRITERS)))

    assert (await store.load(seats, room)).state == WRITERS
    assert decision.decisions < 3 * WRITERS


async def test_writers_who_ask_the_same_decide_little_more_than_twice_each(
    store: PostgresEventStore, room: str
) -> None:
    decision, query = Counted(room), Query.of(Seated, tags=[room])

    async def sit() -> Any:
        stream = StreamId("seat", str(uuid4()))
        return await decide_where(store, query, seats, stream, decision, expect=NO_STREAM)

    await asyncio.gather(*(sit() for _ in range(WRITERS)))

    assert len((await store.find(query)).events) == WRITERS
    assert decision.decisions < 3 * WRITERS


async def test_a_turn_within_a_turn_is_not_waited_for() -> None:
    async def nested(first: str, second: str) -> None:
        async with in_turn(first):
            await asyncio.sleep(0.01)
            async with in_turn(second):
                pass

    async with asyncio.timeout(10):
        await asyncio.gather(nested("a", "b"), nested("b", "a"), nested("a", "a"))


async def test_a_turn_is_over_however_it_ends() -> None:
    async def fails() -> None:
        async with in_turn("c"):
            raise ValueError("no")

    async with asyncio.timeout(10):
        await asyncio.gather(*(fails() for _ in range(3)), return_exceptions=True)
        waiting = asyncio.create_task(asyncio.sleep(0))
        async with in_turn("c"):
            await waiting
