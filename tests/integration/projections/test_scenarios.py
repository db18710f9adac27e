"""Examples of projections whose rows PostgreSQL makes."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest
from sqlalchemy import Column, Index, Numeric, Text, update
from sqlalchemy.sql.dml import UpdateBase

from counteract import Event, Recorded
from counteract.projections import Projection, Put
from counteract.testing import given

pytestmark = pytest.mark.integration


class Priced(Event):
    product: str
    price: Decimal


class Raised(Event):
    factor: int


prices = Projection(
    "prices",
    Column("product", Text, primary_key=True),
    Column("price", Numeric(10, 2), nullable=False),
    Index("prices_price_idx", "price"),
)


@prices.on(Priced)
def priced(recorded: Recorded[Priced]) -> Put:
    return Put(recorded.event.product, {"price": recorded.event.price})


@prices.on(Raised)
def raised(recorded: Recorded[Raised]) -> UpdateBase:
    return update(prices.table).values(price=prices.table.c.price * recorded.event.factor)


async def test_statements_and_types_are_the_databases(app_url: str) -> None:
    example = (
        await given(prices, Priced(product="a", price=Decimal("1.005"))).when(Raised(factor=3)).in_postgres(app_url)
    )
    example.then_rows({"a": {"price": Decimal("3.03")}})
    with pytest.raises(AssertionError, match="The rows are others"):
        example.then_rows({"a": {"price": Decimal("3.015")}})


async def test_nothing_of_it_stays(app_url: str) -> None:
    await given(prices).when(Priced(product="a", price=Decimal(1))).in_postgres(app_url)
    with psycopg.connect(app_url) as application:
        assert application.execute("select to_regclass('prices') is null").fetchone() == (True,)


async def test_a_table_that_is_there_already_is_left_alone(app_url: str) -> None:
    with psycopg.connect(app_url, autocommit=True) as application:
        application.execute("create table prices (product text primary key, price numeric)")
    example = await given(prices, Priced(product="a", price=Decimal(1))).when(Raised(factor=2)).in_postgres(app_url)
    example.then_rows({"a": {"price": Decimal("2.00")}})
    with psycopg.connect(app_url) as application:
        assert application.execute("select count(*) from prices").fetchone() == (0,)
