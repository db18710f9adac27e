"""Connections to PostgreSQL, all made in the same way: options, settings, and the store that they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from psycopg import IsolationLevel
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Connection as EngineConnection
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from counteract.errors import ConfigurationError
from counteract.store.postgres.connection import REFUSED_OPTIONS, SET_LOCALLY, Connection, settings_of
from counteract.store.postgres.names import REMARK, StoreName
from counteract.store.postgres.urls import read_url

__all__ = [
    "APP_ROLE",
    "Connection",
    "async_engine",
    "configure",
    "connect",
    "connect_directly",
    "connect_options",
    "connected_once",
    "connection_pool",
    "sync_engine",
]

APP_ROLE = "counteract_app"
"""The role that the application should connect as: `migrate` creates it, without a password (docs/decisions/0060)."""

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
_SETTINGS = {
    "timezone": "UTC",
    "idle_in_transaction_session_timeout": "30s",
    "lock_timeout": "10s",
    "statement_timeout": "30s",
}
# The search path has the schema of the store first, then that of its projections, and temporary tables at the very end:
# nothing that a role has made, or somebody in its name, takes the place of one of theirs. Several schemas of the path
# may look like a store. The one whose version table this role does not own is taken first, and one that it owns only
# where there is no other: that is the owner's own store.
_HOME = f"""
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
"""  # noqa: S608 - constants
# A pooler gives its clients a process id of its own making, which shows that the session will be another's next. Then
# nothing is set in it: the `case` sees to that.
_SETTLE_SESSION = f"""{_HOME}, session as (select pg_backend_pid() = %(pid)s as is_ours)
    select is_ours, (select store from path), case when is_ours then (
               select count(set_config(name, given.value, false))
               from unnest(%(names)s::text[], %(values)s::text[]) as given (name, value)) end,
           case when is_ours then (select set_config('search_path', value, false) from path) end,
           -- Came with PostgreSQL 17. A role that has one of its own would have every long read cut.
           case when is_ours then (
               select set_config(name, '0', false) from pg_settings where name = 'transaction_timeout') end
    from session
"""  # noqa: S608 - constants
_FIND_HOME = f"{_HOME} select value, store from path"  # noqa: S608 - constants


def connect_options(url: str) -> dict[str, Any]:
    """The parameters for libpq of a `postgresql://` URL, or of a `host=… dbname=…` string, over the defaults here.

    Raises ConfigurationError, without the URL's text: it holds a password.
    """
    return _CONNECT_OPTIONS | dict(read_url(url))


async def connect(url: str) -> Connection:
    """Open one connection, in autocommit mode."""
    options = connect_options(url) | _IN_USE
    connection = await Connection.connect(**options)
    try:
        await configure(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def connect_directly(url: str, purpose: str) -> Connection:
    """Open one connection that has a session of its own.

    Raises ConfigurationError, with the purpose, where a pooler stands in between.
    """
    connection = await connect(url)
    if connection.is_pooled:
        await connection.close()
        raise needs_a_session(purpose)
    return connection


def needs_a_session(purpose: str) -> ConfigurationError:
    """The error for work that a pooler cannot carry; `purpose` is its subject, such as "a migration"."""
    problem = f"it leads to a pooler, such as PgBouncer: {purpose}, which needs sessions of its own, takes one that leads to PostgreSQL itself"
    return ConfigurationError("the database's URL", [problem])


async def configure(connection: Connection) -> None:
    """Settle timeouts, time zone and search path of a new connection, and find out which store it leads to.

    It takes one round trip.
    """
    settings = _SETTINGS | {"default_transaction_isolation": "read committed"}
    asked = {"pid": connection.info.backend_pid, "names": list(settings), "values": list(settings.values())}
    # Not prepared: behind a pooler the name would stay in a session of others.
    row = await (await connection.execute(_SETTLE_SESSION, asked, prepare=False)).fetchone()
    is_ours, store = row[:2] if row else (True, None)
    if not is_ours:
        store = await _settle_transactions(connection)
    connection.store = StoreName(store) if store else StoreName()


async def _settle_transactions(connection: Connection) -> str | None:
    """Have each transaction bring its settings from now on. Returns the name of the store."""
    connection.prepare_threshold = None
    await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
    connection.settings = settings = {**settings_of(connection.options), **_SETTINGS}
    if row := await (await connection.execute(_FIND_HOME)).fetchone():
        connection.settings = settings | {"search_path": row[0]}
        return str(row[1])
    return None


class _LatestFirst(AsyncConnectionPool[Connection]):
    """A pool that gives out the connection that came back last.

    Given out in turns, all connections would be in use where one or two suffice: each has a server process with plans
    of its own, which are out of the processor's caches by the time that it is asked again.
    """

    async def _get_ready_connection(self, timeout: float | None) -> Connection | None:  # noqa: ASYNC109 - as in the pool
        # The pool takes the first connection, puts one that comes back to the end, and closes idle ones from the front.
        self._pool.rotate(1)
        return await super()._get_ready_connection(timeout)


def connection_pool(url: str, size: int, timeout: float) -> AsyncConnectionPool[Connection]:
    """A pool of at most `size` connections that is not open yet; a caller waits `timeout` seconds for one."""
    return _LatestFirst(
        connection_class=Connection,
        kwargs=connect_options(url) | _IN_USE,
        min_size=1,
        max_size=size,
        timeout=timeout,
        configure=configure,
        open=False,
        name="counteract",
    )


def async_engine(url: str, *, directly_for: str = "", **options: Any) -> AsyncEngine:
    """An SQLAlchemy engine over the same connections.

    With a purpose in `directly_for` they must not lead to a pooler: ConfigurationError is raised where they do.
    """

    async def creator() -> psycopg.AsyncConnection[Any]:
        connection = await (connect_directly(url, directly_for) if directly_for else connect(url))
        await connection.set_autocommit(False)
        return connection

    # An error must not quote the row that it is about.
    engine = create_async_engine("postgresql+psycopg://", async_creator=creator, hide_parameters=True, **options)
    event.listen(engine.sync_engine, "begin", _settle)
    return engine


def _settle(connection: EngineConnection) -> None:
    own = cast(Connection, connection.connection.driver_connection)
    if settings := own.settings:
        connection.exec_driver_sql(SET_LOCALLY, (list(settings), list(settings.values())))


@contextmanager
def connected_once(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection for one transaction without an event loop, to look at something."""
    options = connect_options(url) | {"prepare_threshold": None}
    asked = options.get("options") or ""
    try:
        connection = psycopg.connect(**options)
    except psycopg.OperationalError as error:
        if not asked or REFUSED_OPTIONS not in str(error):
            raise
        connection = psycopg.connect(**{**options, "options": None})
    with connection:
        if connection.execute("select pg_backend_pid()").fetchone() != (connection.info.backend_pid,):
            settings = settings_of(asked)
            connection.execute(SET_LOCALLY, (list(settings), list(settings.values())))
        yield connection


def sync_engine(url: str, *, directly_for: str = "this") -> Engine:
    """An engine for one-off work such as migrations: no pool, and none of the timeouts that these would run into.

    Raises ConfigurationError, with the purpose, where a pooler stands in between.
    """
    options = connect_options(url)

    def creator() -> psycopg.Connection[Any]:
        try:
            connection = psycopg.connect(**options)
        except psycopg.OperationalError as error:
            if REFUSED_OPTIONS in str(error):
                raise needs_a_session(directly_for) from None
            raise
        row = connection.execute("select pg_backend_pid()").fetchone()
        connection.rollback()
        if row != (connection.info.backend_pid,):
            connection.close()
            raise needs_a_session(directly_for)
        return connection

    return create_engine("postgresql+psycopg://", creator=creator, poolclass=NullPool)
