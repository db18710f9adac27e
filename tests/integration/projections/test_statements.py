"""Projections whose handlers return SQLAlchemy statements, and whose rows come from more than one stream."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Integer, Text, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.dml import UpdateBase

from counteract import Event, Recorded
from counteract.messages import StreamId
from counteract.projections import Patch, Projection, ProjectionRunner, Put
from counteract.projections.rebuild import rebuild
from counteract.store import ANY, PostgresEventStore
from counteract.store.postgres.names import StoreName

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 20.0


class LineOrdered(Event):
    seller: str
    amount: int


class LineDelivered(Event):
    line: str


class SellerMerged(Event):
    into: str


class SellerCounted(Event):
    pass


def lines() -> Projection:
    projection = Projection(
        "lines",
        Column("line", Text, primary_key=True),
        Column("seller", Text, nullable=False),
        Column("amount", BigInteger, nullable=False),
        Column("state", Text, nullable=False, default="open"),
        Column("beside", Integer, nullable=False, default=0),
    )
    table = projection.table

    @projection.on(LineOrdered)
    def ordered(recorded: Recorded[LineOrdered]) -> Put:
        line = recorded.event
        return Put(recorded.stream.aggregate_id, {"seller": line.seller, "amount": line.amount})

    @projection.on(LineDelivered)
    def delivered(recorded: Recorded[LineDelivered]) -> Patch:
        return Patch(recorded.event.line, {"state": "delivered"})

    @projection.on(SellerMerged)
    def merged(recorded: Recorded[SellerMerged]) -> UpdateBase:
        return update(table).where(table.c.seller == recorded.stream.aggregate_id).values(seller=recorded.event.into)

    @projection.on(SellerCounted)
    def counted(recorded: Recorded[SellerCounted]) -> UpdateBase:
        """How many lines of its own seller are open, to all of them: the table read beside itself."""
        others = table.alias()
        number = select(func.count()).where(others.c.seller == table.c.seller, others.c.state == "open")
        mine = table.c.seller == recorded.stream.aggregate_id
        return update(table).where(mine).values(beside=number.scalar_subquery())

    return projection


class Model:
    """What the rows should be."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def apply(self, stream: StreamId, event: Event) -> None:
        match event:
            case LineOrdered(seller=seller, amount=amount):
                row = {"seller": seller, "amount": amount, "state": "open", "beside": 0}
                self.rows[stream.aggregate_id] = row
            case LineDelivered(line=line) if line in self.rows:
                self.rows[line]["state"] = "delivered"
            case SellerMerged(into=into):
                for row in self._of(stream.aggregate_id):
                    row["seller"] = into
            case SellerCounted():
                mine = self._of(stream.aggregate_id)
                for row in mine:
                    row["beside"] = sum(each["state"] == "open" for each in mine)

    def _of(self, seller: str) -> list[dict[str, Any]]:
        return [row for row in self.rows.values() if row["seller"] == seller]

    def sorted(self) -> list[tuple[Any, ...]]:
        return [(line, *self.rows[line].values()) for line in sorted(self.rows)]


def anything(chance: random.Random) -> tuple[StreamId, Event]:
    line, seller = f"line-{chance.randint(1, 12)}", chance.choice("abc")
    return chance.choice(
        [
            (StreamId("line", line), LineOrdered(seller=seller, amount=chance.randint(1, 99))),
            (StreamId("parcel", f"parcel-{chance.randint(1, 3)}"), LineDelivered(line=line)),
            (StreamId("seller", seller), SellerMerged(into=chance.choice("abc"))),
            (StreamId("seller", seller), SellerCounted()),
        ]
    )


@asynccontextmanager
async def running(runner: ProjectionRunner) -> AsyncIterator[None]:
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def rows(engine: AsyncEngine, projection: Projection) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        found = await connection.execute(select(projection.table).order_by("line"))
        return [tuple(row) for row in found]


@pytest.mark.parametrize("batch_size", [1, 7, 500])
async def test_statements_take_their_turn_among_operations_and_streams_theirs_in_the_log(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str, batch_size: int
) -> None:
    chance, model, projection = random.Random(batch_size), Model(), lines()
    async with running(runner := ProjectionRunner(app_url, [projection], batch_size=batch_size)):
        for _ in range(150):
            stream, event = anything(chance)
            model.apply(stream, event)
            await event_store.append(stream, [event], expect=ANY)
        await runner.reached(await event_store.high_water_mark(), timeout=PATIENCE)
    assert await rows(engine, projection) == model.sorted()


async def test_a_rebuild_sends_statements_to_the_table_that_it_fills(
    event_store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    chance, model, projection = random.Random(3), Model(), lines()
    for _ in range(150):
        stream, event = anything(chance)
        model.apply(stream, event)
        await event_store.append(stream, [event], expect=ANY)
    in_place = engine.execution_options(schema_translate_map={None: StoreName().app})
    async with in_place.begin() as connection:
        await connection.run_sync(projection.table.create)
        await connection.execute(projection.table.insert().values(line="line-1", seller="a", amount=1))

    await rebuild(app_url, lines())

    assert await rows(engine, projection) == model.sorted()
