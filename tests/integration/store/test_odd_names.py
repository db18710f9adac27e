"""Streams and projections of any name that the database can hold: all of them are read, rebuilt, verified and brought elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from datetime import timedelta
from enum import Enum
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import ARRAY, BigInteger, Column, Text, func, select
from sqlalchemy import Enum as SqlEnum
from sqlalchemy.pool import NullPool

from counteract import Recorded, StreamId
from counteract.errors import ConfigurationError
from counteract.projections import Increment, MaterializedView, Projection, ProjectionRunner, Put, reached
from counteract.projections.rebuild import drop, rebuild
from counteract.store import ANY, NO_STREAM, PostgresEventStore
from counteract.store.checks.verify import Trouble
from counteract.store.postgres.connect import async_engine
from tests.commands import counteract
from tests.counters import Counted, CounterReset, counter, counters
from tests.integration.store.verification import problems

pytestmark = pytest.mark.integration

NAMES = ("per%cent", "%s", 'quo"te', "semi;colon", "a :b", "größe", "select", "x" * 63)


def totals(name: str) -> Projection:
    projection = Projection(
        name, Column("counter", Text, primary_key=True), Column("total", BigInteger, nullable=False, default=0)
    )

    @projection.on(Counted)
    def counted(recorded: Recorded[Counted]) -> Increment:
        return Increment(recorded.stream.aggregate_id, "total", recorded.event.amount)

    projection.ignores(CounterReset)
    return projection


def sums(projection: Projection) -> MaterializedView:
    rows = projection.table
    query = select(rows.c.total.label("per%cent"), func.count().label("counters")).group_by(rows.c.total)
    return MaterializedView(
        f"v{projection.name[:50]}", query, of=[projection], unique=["per%cent"], every=timedelta(milliseconds=20)
    )


async def rows(url: str, table: object) -> list[tuple[object, ...]]:
    engine = async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        return sorted(map(tuple, await connection.execute(select(table))))  # type: ignore[call-overload]


@pytest.mark.parametrize("name", NAMES)
async def test_a_projection_and_its_view_are_filled_rebuilt_and_dropped(
    app_url: str, event_store: PostgresEventStore, name: str
) -> None:
    projection = totals(name)
    view = sums(projection)
    running = asyncio.create_task(ProjectionRunner(app_url, [projection, view]).run())
    end = (await event_store.append(counter("a"), [Counted(amount=3)], expect=ANY)).position
    for each in (name, view.name):
        await reached(event_store, each, end, timeout=30)
    await rebuild(app_url, totals(name))
    assert await rows(app_url, projection.table) == [("a", 3)]
    assert await rows(app_url, view.table) == [(3, 1)]
    running.cancel()
    await asyncio.wait([running])
    await drop(app_url, view)
    await drop(app_url, projection)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


async def test_columns_of_types_that_are_made_with_the_table_are_filled_and_rebuilt(
    app_url: str, event_store: PostgresEventStore
) -> None:
    def painted() -> Projection:
        projection = Projection(
            "painted",
            Column("counter", Text, primary_key=True),
            Column("colour", SqlEnum(Colour, name="colour")),
            Column("colours", ARRAY(SqlEnum(Colour, name="colours"))),
        )

        @projection.on(Counted)
        def counted(recorded: Recorded[Counted]) -> Put:
            return Put(recorded.stream.aggregate_id, {"colour": Colour.RED, "colours": [Colour.BLUE, Colour.RED]})

        projection.ignores(CounterReset)
        return projection

    running = asyncio.create_task(ProjectionRunner(app_url, [painted()]).run())
    await reached(
        event_store, "painted", (await event_store.append(counter("a"), [Counted()], expect=ANY)).position, timeout=30
    )
    await rebuild(app_url, painted())
    assert await rows(app_url, painted().table) == [("a", Colour.RED, [Colour.BLUE, Colour.RED])]
    again = await event_store.append(counter("b"), [Counted()], expect=ANY)
    await reached(event_store, "painted", again.position, timeout=30)
    assert len(await rows(app_url, painted().table)) == 2
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x" * 64, "its name has 64 bytes, and PostgreSQL takes 63"),
        ("ö" * 32, "its name has 64 bytes"),
        ("", "it has no name"),
        ("a\0b", "holds U\\+0000"),
    ],
)
def test_a_projection_whose_name_can_be_no_tables_is_refused_where_it_is_declared(name: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        totals(name)
    with pytest.raises(ConfigurationError, match=why):
        MaterializedView(name, "select 1 as n", of=[Counted], unique=["n"])


async def test_the_snapshot_of_an_empty_id_is_verified_too(app_url: str, database_url: str) -> None:
    async with PostgresEventStore.open(app_url, snapshot_every=2) as store:
        await store.append(counter(""), [Counted()] * 2, expect=NO_STREAM)
        await store.load(counters, "")
    assert await problems(app_url) == []
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update snapshots set state = '999'")

    [problem] = await problems(app_url)

    assert (problem.trouble, problem.stream) == (Trouble.SNAPSHOT, counter(""))


async def command(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    return await counteract("events", *arguments, environment=os.environ | {"DATABASE_URL": url})


@pytest.mark.program
async def test_a_stream_whose_type_has_a_slash_is_read_by_the_name_that_it_is_shown_with(
    app_url: str, event_store: PostgresEventStore
) -> None:
    await event_store.append(StreamId("a/b", "c"), [Counted(amount=7)], expect=ANY)
    listed = await command("read", "--table", url=app_url)
    name = listed.stdout.split()[1]
    read = await command("read", name, "--json", url=app_url)
    other = await command("read", "a/b/c", "--json", url=app_url)
    assert name == "a%2Fb/c"
    assert [json.loads(line)["event_data"] for line in read.stdout.splitlines()] == [{"amount": 7, "note": None}]
    assert (other.returncode, other.stdout) == (0, "")


@pytest.mark.program
async def test_whatever_is_exported_is_imported(
    database_url: str, app_url: str, event_store: PostgresEventStore, another_database_url: str, tmp_path: Path
) -> None:
    streams = [StreamId("", ""), StreamId("a/b", ""), counter("a\nb"), counter("\u202eabc"), counter("\\N")]
    for each in streams:
        await event_store.append(each, [Counted()], expect=NO_STREAM)
    file = str(tmp_path / "events")
    await command("export", file, url=app_url)
    imported = await command("import", file, url=another_database_url)
    assert imported.stdout == "5 events imported, 0 were in already\n"
    every = "select event_id, aggregate_type, aggregate_id, version, event_data::text from events order by position"
    with psycopg.connect(database_url) as one, psycopg.connect(another_database_url) as other:
        assert one.execute(every).fetchall() == other.execute(every).fetchall()
