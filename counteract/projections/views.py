"""Materialized views of PostgreSQL that follow from projections' tables, or from the events themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from time import monotonic
from typing import Any, cast

import psycopg
from psycopg import sql
from sqlalchemy import ColumnElement, Dialect, Select, TableClause, column, create_mock_engine, table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.errors import ConfigurationError, StoreUnavailable
from counteract.messages import Event
from counteract.projections.dependents import MARK
from counteract.projections.grants import Rights
from counteract.projections.identifiers import identifier_problems, plain, quoted
from counteract.projections.projection import Projection
from counteract.projections.table import own_schema
from counteract.store import EventDecoder, StoredEvent
from counteract.store.postgres.connect import Connection, connect_directly
from counteract.store.postgres.error_texts import objection
from counteract.store.postgres.readiness import RESERVED
from counteract.subscriptions import Subscriber
from counteract.subscriptions.backoff import Backoff

LONGEST_REFRESH = 600.0
"""The most seconds that a refresh may take. A process that dies in one is replaced soon all the same."""
# Named parameters keep %-signs of the driver's own out.
_DIALECT: Dialect = create_mock_engine("postgresql+psycopg://", lambda *_: None, paramstyle="named").dialect
# Two processes that start at once must not both create a view.
_LOCK = text("select pg_advisory_xact_lock(7203480154)")
_DEFINED_AS = text("""
    select obj_description(c.oid, 'pg_class') from pg_class c
    where c.relkind = 'm' and c.relname = :view and pg_table_is_visible(c.oid)
""")
_IS_THERE = text("select to_regclass(:name) is not null")
# An inline projection shows everything that was appended.
_SHOWN = """
    select coalesce(min(case when exists (select from inline_projections where name = wanted) then %(now)s else coalesce(position, 0) end), %(now)s)
    from unnest(%(names)s::text[]) wanted
    left join (select name, min(position) as position from subscriptions group by name) known on known.name = wanted
"""
_PARKED = "select count(*) from parked_events where subscription = any (%s)"
_PATIENCE = 5.0


class ViewStale(StoreUnavailable):
    """A view could not be refreshed: it is tried again, and shows what it showed until then."""


class MaterializedView:
    """The result of a query, kept by the database, and refreshed after events while it is read.

    `query` is a SELECT, of SQLAlchemy or as SQL. `of` names what it reads: projections, whose tables it reads once they
    show an event, or classes of events, where it reads `events`. `unique` names columns whose values together no two of
    its rows share: a refresh beside readers needs them. The view is refreshed at most once in `every`, and always after
    the last event, by whichever process runs it. `reached` means that it was refreshed since. Raises
    ConfigurationError.
    """

    def __init__(
        self,
        name: str,
        query: Select[*tuple[Any, ...]] | str,
        *,
        of: Sequence[Projection | type[Event]],
        unique: Sequence[str],
        every: timedelta = timedelta(seconds=5),
        within: timedelta | None = None,
    ) -> None:
        self.name = name
        self.within = within
        self.every = every.total_seconds()
        self.unique = tuple(unique)
        self.definition = _sql(query)
        columns: list[ColumnElement[Any]] = [] if isinstance(query, str) else list(query.selected_columns)
        self.table: TableClause = table(
            name.replace("-", "_"), *(column(each.key or "", each.type) for each in columns)
        )
        self.projections = [each for each in of if isinstance(each, Projection)]
        self._decoder = EventDecoder([each for each in of if not isinstance(each, Projection)])
        problems = [*identifier_problems(self.table.name)]
        problems += [f"{each.name!r} has its rows in {each.sink}" for each in self.projections if each.sink]
        if self.table.name in RESERVED:
            problems.append(f"it would be named like {self.table.name}, which is the store's own: give it another name")
        if not unique:
            problems.append(
                "it needs unique=, the columns that tell its rows apart, to be refreshed beside its readers"
            )
        if not of:
            problems.append("it needs of=, the projections or events that it reads")
        if problems:
            raise ConfigurationError(f"materialized view {name!r}", problems)

    @property
    def event_types(self) -> frozenset[str]:
        """The stored names of the events that it follows. Handlers may be declared after the view that follows from
        them.
        """
        return self._decoder.event_types.union(*(each.decoder.event_types for each in self.projections))

    @property
    def fingerprint(self) -> str:
        """The remark stored with the view: it differs once the query or `unique` does, and the view
        is then made anew.
        """
        words = "\n".join([self.definition, *self.unique])
        return MARK + sha256(words.encode()).hexdigest()[:16]


def _sql(query: Select[*tuple[Any, ...]] | str) -> str:
    if isinstance(query, str):
        return query
    return str(query.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


class ViewSubscriber(Subscriber):
    """Refreshes a view, on a connection of its own, before the checkpoint moves over the events that made it stale."""

    def __init__(self, url: str, view: MaterializedView) -> None:
        self.name = view.name
        self.event_types = view.event_types
        self._url = url
        self._view = view
        self._shown = 0
        self._begun = -view.every
        self._parked: int | None = None

    @property
    def is_resting(self) -> bool:
        """Whether the last refresh is less than `every` ago."""
        return monotonic() < self._begun + self._view.every

    async def prepare(self, connection: AsyncConnection) -> None:
        """Make the view, if it is missing or defined otherwise, once the tables that it reads are there."""
        self._shown = 0
        self._is_made = False
        names = [each.table.name for each in self._view.projections]
        there = [(await connection.execute(_IS_THERE, {"name": f'"{name}"'})).scalar_one() for name in names]
        if all(there):
            await self._make(connection)

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        """Refresh the view, unless it shows these events already. Raises ViewStale."""
        position = events[-1].position
        if position <= self._shown:
            return
        async with await connect_directly(self._url, "a view") as own:
            shown = await self._sources(own, position)
            self._begun = monotonic()
            self._parked = await self._parked_now(own)
            if self._is_made:
                await self._refresh(own)
            else:
                await self._make(connection)
        self._shown = shown

    async def watch(self) -> None:
        """Refresh the view where parked events were redriven, which changes the rows that it reads without an event."""
        if not self._is_made or self.is_resting:
            return
        async with await connect_directly(self._url, "a view") as own:
            if (parked := await self._parked_now(own)) != self._parked:
                self._begun = monotonic()
                await self._refresh(own)
                self._parked = parked

    async def _parked_now(self, connection: Connection) -> int | None:
        names = [each.name for each in self._view.projections]
        row = await (await connection.execute(_PARKED, (names,))).fetchone()
        return row[0] if row else None

    async def _sources(self, connection: Connection, position: int) -> int:
        """The position that everything it reads has reached, which it shows at least once it is
        refreshed from now on.
        """
        names = [each.name for each in self._view.projections]
        pauses, deadline = Backoff(shortest=0.005, longest=0.25), monotonic() + _PATIENCE
        while True:
            row = await (await connection.execute(_SHOWN, {"names": names, "now": position})).fetchone()
            if row and row[0] >= position:
                return int(row[0])
            if monotonic() > deadline:
                raise ViewStale(f"the view {self.name!r} is of {', '.join(names)}, which are behind")
            await asyncio.sleep(pauses.next())

    async def _refresh(self, connection: Connection) -> None:
        name = sql.Identifier(self._view.table.name)
        with self._translated("refreshed"):
            await connection.execute("set statement_timeout = 0")
            await connection.execute(sql.SQL("refresh materialized view concurrently {}").format(name))

    async def _make(self, connection: AsyncConnection) -> None:
        self._is_made = True
        await connection.execute(_LOCK)
        known = (await connection.execute(_DEFINED_AS, {"view": self._view.table.name})).first()
        if known and known[0] == self._view.fingerprint:
            return
        name = quoted(await connection.run_sync(own_schema), self._view.table.name)
        rights = await connection.run_sync(Rights, name, self._view.table.columns.keys())
        if known:
            await connection.exec_driver_sql(plain(f"drop materialized view {name}"))
        columns = ", ".join(map(quoted, self._view.unique))
        # Past SQLAlchemy and without parameters, for a query may have any characters.
        driver = cast(Connection, (await connection.get_raw_connection()).driver_connection)
        for statement in (
            "set local statement_timeout = 0",
            f"create materialized view {name} as {self._view.definition}",
            f"create unique index {quoted(f'{self._view.table.name}_key')} on {name} ({columns})",
            f"comment on materialized view {name} is '{self._view.fingerprint}'",
        ):
            with self._translated("made"):
                await driver.execute(statement.encode())
        await connection.run_sync(rights.give)

    @contextmanager
    def _translated(self, done: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            # No event is to blame.
            raise ViewStale(f"the view {self.name!r} cannot be {done}: {objection(error)}") from error


async def drop_view(connection: AsyncConnection, view: MaterializedView) -> None:
    """Drop the view, if it is there."""
    await connection.exec_driver_sql(plain(f"drop materialized view if exists {quoted(view.table.name)}"))
