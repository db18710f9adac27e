"""Changes of many rows, in one statement of each kind, whatever the columns are of."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.projections import Delete, Increment, Operation, Patch, Put
from counteract.projections.table_writer import TableWriter
from counteract.store.postgres.connect import async_engine
from counteract.store.postgres.names import StoreName
from tests.coalescing import coalesce

pytestmark = [pytest.mark.integration, pytest.mark.readside]


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


VALUES: dict[str, tuple[Column[Any], Any]] = {
    "big": (Column("big", BigInteger), 2**60),
    "small": (Column("small", SmallInteger), 7),
    "money": (Column("money", Numeric(20, 4)), Decimal("12.3456")),
    "ratio": (Column("ratio", Float), 0.1),
    "flag": (Column("flag", Boolean), True),
    "day": (Column("day", Date), date(2026, 2, 28)),
    "at": (Column("at", DateTime(timezone=True)), datetime(2026, 1, 1, tzinfo=UTC)),
    "span": (Column("span", Interval), timedelta(seconds=90)),
    "ident": (Column("ident", Uuid), UUID(int=5)),
    "document": (Column("document", JSONB(none_as_null=True)), {"a": [1, None, 'x"y,{}\\']}),
    "blob": (Column("blob", LargeBinary), b"\x00\xff\\"),
    "size": (Column("size", Enum(Size, native_enum=False)), Size.LARGE),
    "short": (Column("short", String(20)), 'NULL, "q" {b} \\'),
    "tags": (Column("tags", ARRAY(Text)), ["a", "b,c"]),
}


@pytest.fixture
async def connection(app_url: str) -> AsyncIterator[AsyncConnection]:
    engine = async_engine(app_url)
    async with engine.begin() as connection:
        yield connection
    await engine.dispose()


async def table_of(connection: AsyncConnection, *columns: Column[Any]) -> Table:
    table = Table("made", MetaData(), Column("name", Text, primary_key=True), *columns)
    await connection.execute(text(f"set local search_path = {StoreName().app}"))
    await connection.run_sync(table.create)
    return table


async def apply(connection: AsyncConnection, table: Table, *operations: Operation) -> Sequence[tuple[Any, ...]]:
    writer = TableWriter(table)
    await writer.write(connection, coalesce(operations, writer.blank))
    return [tuple(row) for row in await connection.execute(select(table).order_by(table.c.name))]


@pytest.mark.parametrize("name", VALUES)
async def test_a_value_of_any_type_comes_back_as_it_was(connection: AsyncConnection, name: str) -> None:
    column, value = VALUES[name]
    table = await table_of(connection, Column(name, column.type))
    rows = await apply(connection, table, Put("a", {name: value}), Put("b", {name: None}), Put("c", {}))
    assert rows == [("a", value), ("b", None), ("c", None)]
    rows = await apply(
        connection, table, Patch("b", {name: value}), Patch("a", {name: None}), Patch("x", {name: value})
    )
    assert rows == [("a", None), ("b", value), ("c", None)]


@pytest.mark.parametrize("more", [[], [Column("tags", ARRAY(Text))]])
async def test_a_text_that_is_too_long_is_refused_and_not_cut(
    connection: AsyncConnection, more: list[Column[Any]]
) -> None:
    table = await table_of(connection, Column("short", String(3)), *(Column(each.name, each.type) for each in more))
    with pytest.raises(DataError, match="value too long"):
        await apply(connection, table, Put("a", {"short": "four"}))


@pytest.mark.parametrize("more", [[], [Column("tags", ARRAY(Text), default=None)]])
async def test_every_kind_of_change_changes_its_rows_and_no_other(
    connection: AsyncConnection, more: list[Column[Any]]
) -> None:
    columns = [Column("count", Integer, default=10), Column("sum", Numeric, default=None), Column("note", Text)]
    table = await table_of(connection, *columns, *more)
    pad = (None,) * len(more)
    await apply(connection, table, *(Put(name, {"note": name}) for name in "abcd"))
    rows = await apply(
        connection,
        table,
        Delete("a"),
        Patch("b", {"note": "patched"}),
        Increment("c", "count", 5),
        Increment("c", "sum", Decimal("1.5")),
        Increment("new", "count", -1),
        Increment("newer", "sum"),
        Patch("newer", {"note": "after"}),
    )
    assert rows == [
        ("b", 10, None, "patched", *pad),
        ("c", 15, Decimal("1.5"), "c", *pad),
        ("d", 10, None, "d", *pad),
        ("new", 9, None, None, *pad),
        ("newer", 10, Decimal(1), "after", *pad),
    ]


async def test_a_table_of_keys_alone_is_written_to(connection: AsyncConnection) -> None:
    table = await table_of(connection, Column("number", Integer, primary_key=True))
    rows = await apply(connection, table, Put(("a", 1), {}), Put(("a", 2), {}), Put(("b", 1), {}))
    assert rows == [("a", 1), ("a", 2), ("b", 1)]
    assert await apply(connection, table, Put(("a", 1), {}), Delete(("a", 2))) == [("a", 1), ("b", 1)]
