"""Points of players and teams: a read model in which every event counts, so that one handled twice or never shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import BigInteger, Column, Text

from counteract import Event, Recorded
from counteract.messages import StreamId
from counteract.projections import Delete, Increment, Operation, Projection, ProjectionRunner
from counteract.projections.sinks import Sink
from counteract.store import ANY, PostgresEventStore
from tests.integration.projections.sink_places import Place


class Scored(Event):
    points: int
    team: str = "all"


class Left(Event):
    pass


class Idle(Event):
    pass


class Troubling(Event):
    team: str


def scores(name: str, sink: Sink | None, troubles: set[str] | None = None) -> Projection:
    """Points of each player, and of each team, to which all of its players add."""
    projection = Projection(
        name, Column("who", Text, primary_key=True), Column("points", BigInteger, nullable=False, default=0), sink=sink
    )

    @projection.on(Scored)
    def scored(recorded: Recorded[Scored]) -> Sequence[Operation]:
        event = recorded.event
        return [
            Increment(recorded.stream.aggregate_id, "points", event.points),
            Increment(event.team, "points", event.points),
        ]

    @projection.on(Left)
    def left(recorded: Recorded[Left]) -> Delete:
        return Delete(recorded.stream.aggregate_id)

    @projection.on(Idle)
    def idle(recorded: Recorded[Idle]) -> Sequence[Operation]:
        return []

    @projection.on(Troubling)
    def troubling(recorded: Recorded[Troubling]) -> Increment:
        if troubles is None or recorded.event.team in troubles:
            raise ValueError("not today")
        return Increment(recorded.event.team, "points", 1000)

    return projection


@asynccontextmanager
async def running(url: str, *projections: Projection, batch_size: int = 500) -> AsyncIterator[None]:
    task = asyncio.create_task(ProjectionRunner(url, projections, batch_size=batch_size).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def player(name: str) -> StreamId:
    return StreamId("player", name)


async def play(store: PostgresEventStore, games: int, *, team: str = "all") -> int:
    """So many points for each of four players; the position of the last."""
    return max(
        [
            (await store.append(player(str(number)), [Scored(points=1, team=team)], expect=ANY)).position
            for _ in range(games)
            for number in range(4)
        ]
    )


async def points(place: Place, projection: Projection) -> dict[str, int]:
    return {key: row["points"] for key, row in (await place.rows(projection, projection.name)).items()}


def after(games: int) -> dict[str, int]:
    return {**{str(number): games for number in range(4)}, "all": 4 * games}
