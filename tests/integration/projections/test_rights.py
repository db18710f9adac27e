"""The rights on a projection's table outlive its rebuild, and whoever has others than its role leaves it alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

import psycopg
import pytest
from sqlalchemy import ARRAY, Column, Enum, Text

from counteract.errors import ConfigurationError
from counteract.messages import Recorded
from counteract.projections import MaterializedView, Projection, ProjectionRunner, Put
from counteract.projections.rebuild import drop, rebuild
from counteract.store import ANY, PostgresEventStore
from counteract.store.postgres.connect import connect
from counteract.subscriptions import reached
from tests.counters import Counted, CounterReset, counter
from tests.totals import totals

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 20.0
GRANTED = """
    grant select on totals to {reader} with grant option;
    grant update (total) on totals to {reader};
    grant select on totals to public;
    grant select on sums to {reader};
"""
RIGHTS = """
    select c.relname, coalesce(a.attname, '-'), given.privilege_type, given.grantee = 0, given.is_grantable
    from pg_class c
    cross join lateral (
        select null as attname, x.* from aclexplode(c.relacl) x
        union all select attname, x.* from pg_attribute, aclexplode(attacl) x where attrelid = c.oid) as given
    left join lateral (select given.attname) a on true
    where c.oid in (to_regclass('totals'), to_regclass('sums')) and given.grantee <> c.relowner order by 1, 2, 3, 4, 5
"""


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class MoreColours(StrEnum):
    RED = "red"
    BLUE = "blue"
    GREEN = "it's green"


def sums(*, doubled: bool = False) -> MaterializedView:
    query = f"select id, {'2 * ' if doubled else ''}total as total from totals"
    return MaterializedView("sums", query, of=[totals()], unique=["id"])


@asynccontextmanager
async def running(url: str, *projections: Projection | MaterializedView) -> AsyncIterator[None]:
    task = asyncio.create_task(ProjectionRunner(url, projections).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def shown(store: PostgresEventStore, *names: str, events: int = 1) -> None:
    """Append so many, and wait until they are shown."""
    position = (await store.append(counter("a"), [Counted()] * events, expect=ANY)).position
    for name in names:
        await reached(store, name, position, timeout=PATIENCE)


async def total(url: str) -> int:
    async with await connect(url) as connection:
        ((found,),) = await (await connection.execute("select total from totals")).fetchall()
        return int(found)


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[str]:
    name = f"reader_{psycopg.conninfo.conninfo_to_dict(database_url)['dbname']}"
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"create role {name}".encode())
        yield name
        owner.execute(f"drop owned by {name}".encode())
        owner.execute(f"drop role {name}".encode())


async def test_a_rebuild_keeps_the_rights_on_the_table_and_on_views_of_it(
    store: PostgresEventStore, app_url: str, reader: str
) -> None:
    async with running(app_url, totals(), sums()):
        await shown(store, "totals", "sums")
        async with await connect(app_url) as connection:
            await connection.execute(GRANTED.format(reader=reader).encode(), prepare=False)
            before = await (await connection.execute(RIGHTS)).fetchall()
            await rebuild(app_url, totals())
            assert await (await connection.execute(RIGHTS)).fetchall() == before
    assert len(before) == 4


async def test_a_view_that_is_defined_anew_keeps_the_rights_on_it(
    store: PostgresEventStore, app_url: str, reader: str
) -> None:
    async with running(app_url, totals(), sums()):
        await shown(store, "totals", "sums")
        async with await connect(app_url) as connection:
            await connection.execute(f"grant select on sums to {reader}".encode())
            before = await (await connection.execute(RIGHTS)).fetchall()
    async with running(app_url, totals(), sums(doubled=True)):
        await shown(store, "totals", "sums")
    async with await connect(app_url) as connection:
        assert await (await connection.execute("select total from sums")).fetchall() == [(4,)]
        assert await (await connection.execute(RIGHTS)).fetchall() == before
    assert len(before) == 1


async def test_a_rebuild_by_another_role_is_refused_before_it_puts_a_second_table_before_the_live_one(
    store: PostgresEventStore, app_url: str, database_url: str
) -> None:
    async with running(app_url, totals()):
        await shown(store, "totals")
        with pytest.raises(
            ConfigurationError, match=r"its rows are in counteract_app\.totals, and this role .* in public"
        ):
            await rebuild(database_url, totals())
        await shown(store, "totals")
    assert await total(app_url) == 2


@pytest.mark.parametrize("what", [totals(), sums()], ids=["table", "view"])
async def test_a_projection_is_dropped_by_the_role_that_has_its_rows(
    store: PostgresEventStore, app_url: str, database_url: str, what: Projection | MaterializedView
) -> None:
    async with running(app_url, totals(), sums()):
        await shown(store, "totals", "sums")
    with pytest.raises(ConfigurationError, match="run this as the role that runs the projection"):
        await drop(database_url, what)
    async with running(app_url, totals(), sums()):
        await shown(store, "totals", "sums")
    assert await total(app_url) == 2


async def test_rows_whose_checkpoint_is_gone_are_made_anew_and_count_no_event_twice(
    store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(app_url, totals()):
        await shown(store, "totals", events=3)
    async with await connect(app_url) as connection:
        await connection.execute("delete from subscriptions where name = 'totals'")
    async with running(app_url, totals()):
        await shown(store, "totals")
    assert await total(app_url) == 4
    assert "projection 'totals': its checkpoint is gone, and so its rows are made anew" in caplog.text


def painted(colours: type[StrEnum]) -> Projection:
    kind = Enum(colours, name="colour", values_callable=lambda every: [each.value for each in every])
    projection = Projection(
        "painted",
        Column("counter", Text, primary_key=True),
        Column("colour", kind),
        Column("colours", ARRAY(kind)),
    )
    newest = list(colours)[-1]

    @projection.on(Counted)
    def counted(recorded: Recorded[Counted]) -> Put:
        return Put(recorded.stream.aggregate_id, {"colour": newest, "colours": [newest]})

    projection.ignores(CounterReset)
    return projection


@pytest.mark.parametrize("again", [True, False], ids=["rebuilt", "deployed"])
async def test_a_member_that_an_enum_has_got_since_can_be_written(
    store: PostgresEventStore, app_url: str, *, again: bool
) -> None:
    async with running(app_url, painted(Colour)):
        await shown(store, "painted")
    if again:
        await rebuild(app_url, painted(MoreColours))
    async with running(app_url, painted(MoreColours)):
        await shown(store, "painted")
    async with await connect(app_url) as connection:
        found = await (await connection.execute("select colour::text, colours::text[] from painted")).fetchall()
    assert found == [("it's green", ["it's green"])]


def test_two_projections_of_one_table_are_refused() -> None:
    first, second = (Projection(name, Column("id", Text, primary_key=True)) for name in ("by-day", "by_day"))
    with pytest.raises(ConfigurationError, match="'by-day' and 'by_day' would share the table by_day"):
        ProjectionRunner("postgresql://nowhere", [first, second])
