"""Connections to PostgreSQL, all made in the same way."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from counteract.store.naming import REMARK, StoreName
from counteract.store.urls import read_url


class Connection(psycopg.AsyncConnection[TupleRow]):
    """The driver's, and what it knows of the statement that it runs most."""

    store: StoreName = StoreName()
    """That of the tables that it finds."""

    @cached_property
    def again(self) -> psycopg.AsyncCursor[TupleRow]:
        """For one statement after another, as a rule the same: what a new cursor has to find out first, this one has kept."""
        return self.cursor()


APP_ROLE = "counteract_app"
"""What the application should connect as: `migrate` creates it, without a password (docs/decisions/0060)."""

# In seconds. A peer that vanished without a word is noticed in half a minute instead of in hours.
_CONNECT_OPTIONS: dict[str, Any] = {
    "application_name": "counteract",
    # Whatever PGCLIENTENCODING says: text that it lacks could not be sent.
    "client_encoding": "UTF8",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

# Statements are prepared at their first use: there are few, and each is used again and again.
_IN_USE: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0}

# An open transaction that has appended delays every subscriber, so none may linger.
#
# The tables of the store come first on the path, then those of its projections, and temporary ones at the very end: whatever else a
# role has made, or somebody in its name, takes the place of none of them. Which schema on the path that is, only a table tells that
# the role does not own, unless there is no other: the owner's own.
_SESSION_SETTINGS = f"""
    with home as (
        select n.nspname as schema,
               coalesce(substring(obj_description(c.oid, 'pg_class') from '^{REMARK}(\\w+)$'), '{StoreName().name}') as store
        from unnest(current_schemas(false)) with ordinality as given (name, place)
        join pg_namespace n on n.nspname = given.name
        join pg_class c on c.relnamespace = n.oid and c.relname = 'counteract_version' and c.relkind = 'r'
        order by pg_get_userbyid(c.relowner) = current_user, given.place
        limit 1
    ), path as (
        select store, concat_ws(', ', quote_ident(schema), store || '_app', (
            select string_agg(quote_ident(given.name), ', ' order by given.place)
            from unnest(current_schemas(false)) with ordinality as given (name, place)
            where given.name not in (schema, store || '_app')), 'pg_temp') as value
        from home
    )
    select set_config('timezone', 'UTC', false),
           set_config('default_transaction_isolation', 'read committed', false),
           set_config('idle_in_transaction_session_timeout', '30s', false),
           set_config('lock_timeout', '10s', false),
           set_config('statement_timeout', '30s', false),
           -- Came with PostgreSQL 17. A role that has one of its own would have every long read cut.
           (select set_config(name, '0', false) from pg_settings where name = 'transaction_timeout'),
           (select set_config('search_path', value, false) from path),
           (select store from path)
"""  # noqa: S608 - constants


def connect_options(url: str) -> dict[str, Any]:
    """libpq's parameters of a `postgresql://` URL, or of a `host=… dbname=…` string, over our defaults.

    Raises ConfigurationError, without the URL's text: it holds a password.
    """
    return _CONNECT_OPTIONS | dict(read_url(url))


async def connect(url: str) -> Connection:
    """One connection, in autocommit mode."""
    options = connect_options(url) | _IN_USE
    connection = await Connection.connect(**options)
    try:
        await configure(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def configure(connection: Connection) -> None:
    *_, store = await (await connection.execute(_SESSION_SETTINGS)).fetchone() or (None,)
    connection.store = StoreName(store) if store else StoreName()


def connection_pool(url: str, size: int, timeout: float) -> AsyncConnectionPool[Connection]:
    """A pool that is not open yet."""
    return AsyncConnectionPool(
        connection_class=Connection,
        kwargs=connect_options(url) | _IN_USE,
        min_size=1,
        max_size=size,
        timeout=timeout,
        configure=configure,
        open=False,
        name="counteract",
    )


def async_engine(url: str, **options: Any) -> AsyncEngine:
    """SQLAlchemy over the same connections."""

    async def creator() -> psycopg.AsyncConnection[Any]:
        connection = await connect(url)
        await connection.set_autocommit(False)
        return connection

    # An error must not quote the row that it is about.
    return create_async_engine("postgresql+psycopg://", async_creator=creator, hide_parameters=True, **options)


def sync_engine(url: str) -> Engine:
    """For one-off work such as migrations: no pool, and none of the timeouts that a long migration would run into."""
    options = connect_options(url)
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(**options), poolclass=NullPool)
