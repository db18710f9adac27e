"""The PostgreSQL table of a projection."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Inspector, MetaData, Table, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import SetTableComment
from sqlalchemy.sql.dml import UpdateBase

from counteract.errors import ConfigurationError, RowsOfOtherCode
from counteract.projections.coalescing import coalesced
from counteract.projections.enum_types import add_members
from counteract.projections.identifiers import plain, quoted
from counteract.projections.operations import Declared
from counteract.projections.table_writer import TableWriter
from counteract.store import StoredEvent

_logger = logging.getLogger("counteract.projections")

# Two processes that start at once must not both create a table.
_LOCK = text("select pg_advisory_xact_lock(7203480153)")
# On a path that begins with the store's own tables, where only their owner may make others.
_OWN_SCHEMA = text("""
    select n.nspname
    from unnest(current_schemas(false)) with ordinality as given (name, place) join pg_namespace n on n.nspname = given.name
    where has_schema_privilege(n.oid, 'create')
    order by given.place limit 1
""")
_PATH = text("select current_setting('search_path')")
_SET_PATH = text("select set_config('search_path', :path, true)")
_FOUND_IN = text("""
    select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(quote_ident(:name))
""")
_HAS_A_PAST = (
    "select not exists (select from subscriptions where name = :name and position > 0) and exists (select from {})"
)
_ROLE = text("select current_user")
_MADE_BY = text("select to_regclass(:name) is not null, obj_description(to_regclass(:name), 'pg_class')")


class ProjectionTable:
    """The table of one projection: made, compared with its declaration, and written."""

    def __init__(self, projection: Declared) -> None:
        self._projection = projection
        self._writer = TableWriter(projection.table)
        # Statements name the table as it is declared; this one may be in another schema.
        schema = projection.table.schema
        self._where = {"schema_translate_map": {None: schema}} if schema else {}
        self._has_reported = False
        # The code that had made the table, as the last look found; None where it is not known.
        self._made_by: str | None = None
        self._has_looked = False

    async def create(self, connection: AsyncConnection, *, remark: str | None = None) -> bool:
        """Make the table unless it is there; whether it was made now.

        A table that is there is compared; with a `remark`, one with another remark is made anew. It is looked for where
        this role would make it, which for the application's role is a schema of its own: a table of that name that the
        owner made elsewhere could be read, but not written. Raises ConfigurationError for one with other columns, and
        RowsOfOtherCode for one that other code has made since the last look.
        """
        await connection.execute(_LOCK)
        return await connection.run_sync(self._create, remark)

    async def forget(self, connection: AsyncConnection) -> bool:
        """Remove rows that no checkpoint accounts for, whose events would be handled once more; whether there were any.

        Rows and checkpoint move in one transaction, so rows without any progress belong to a checkpoint that is gone.
        """
        own: str = await connection.run_sync(own_schema)
        name = quoted(self._projection.table.schema or own, self._projection.table.name)
        look = text(_HAS_A_PAST.format(name.replace(":", r"\:")))
        if not (await connection.execute(look, {"name": self._projection.name})).scalar_one():
            return False
        await connection.exec_driver_sql(plain(f"truncate {name}"))
        await connection.exec_driver_sql(plain(f"comment on table {name} is '{self._projection.fingerprint}'"))
        self._made_by = self._projection.fingerprint
        _logger.warning("projection %r: its checkpoint is gone, and so its rows are made anew", self._projection.name)
        return True

    async def write(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        """Write what the events do to the rows."""
        for each in coalesced(self._projection.operations_of(events), self._writer.blank):
            if isinstance(each, UpdateBase):
                await connection.execute(each, execution_options=self._where)
            else:
                await self._writer.write(connection, each)

    def _create(self, connection: Connection, remark: str | None) -> bool:
        table, inspector = self._projection.table, inspect(connection)
        schema = table.schema or own_schema(connection)
        _refuse_hidden(connection, table.name, schema)
        add_members(connection, table, own_schema(connection))
        if inspector.has_table(table.name, schema):
            found = inspector.get_table_comment(table.name, schema)["text"]
            if remark in (None, found):
                self._look(inspector, schema, _code_of(found))
                return False
            connection.exec_driver_sql(plain(f"drop table {quoted(schema, table.name)}"))
        table = _in(schema, table)
        with _types_in(connection, own_schema(connection)):
            table.create(connection)
        # The code that makes its rows is named on the table itself, and so goes where the table goes.
        self._has_looked, self._made_by = True, self._projection.fingerprint
        table.comment = remark or self._made_by
        connection.execute(SetTableComment(table))
        return True

    def _look(self, inspector: Inspector, schema: str, made_by: str | None) -> None:
        is_changed = made_by not in (None, self._projection.fingerprint)
        if is_changed and self._has_looked and made_by != self._made_by:
            raise self._replaced()
        self._check(inspector, schema, is_changed=is_changed)
        self._has_looked, self._made_by = True, made_by

    def _replaced(self) -> RowsOfOtherCode:
        name = self._projection.name
        return RowsOfOtherCode(
            f"projection {name!r} was rebuilt with other code than this process has, which writes nothing more into it: deploy that "
            f"code, or `counteract projections rebuild {name}` with the code of this process"
        )

    def _check(self, inspector: Inspector, schema: str, *, is_changed: bool) -> None:
        name = self._projection.table.name
        actual = {column["name"] for column in inspector.get_columns(name, schema)}
        if actual != set(self._projection.table.columns.keys()):
            problem = f"the table has other columns than are declared: `counteract projections rebuild {self._projection.name}`"
            raise ConfigurationError(f"projection table {name!r}", [problem])
        if is_changed and not self._has_reported:
            self._has_reported = True
            _logger.warning(
                "projection %r: its code has changed since its rows were made; `counteract projections rebuild %s` "
                "makes them anew, while the present ones are read",
                self._projection.name,
                self._projection.name,
            )


def own_schema(connection: Connection) -> str:
    """The schema in which this role makes tables: the application's own, or, for the owner, that of the store.

    Raises ConfigurationError where it may make none.
    """
    schema = connection.scalar(_OWN_SCHEMA)
    if schema is None:
        problem = "this role may create tables in none of its schemas: run `counteract migrate` as the owner"
        raise ConfigurationError("the tables of projections", [problem])
    return str(schema)


async def is_made_by(connection: AsyncConnection, projection: Declared) -> bool:
    """Whether the projection's table is there, with rows that this code has made; True where no remark tells."""
    name = quoted(projection.table.schema or "", projection.table.name)
    is_there, made_by = (await connection.execute(_MADE_BY, {"name": name})).one()
    return is_there and _code_of(made_by) in (None, projection.fingerprint)


def _code_of(remark: str | None) -> str | None:
    """The fingerprint at the beginning of a remark."""
    return remark and remark.partition(" ")[0]


def drop_table(connection: Connection, table: Table) -> None:
    """Drop a projection's table, if it is there."""
    _in(own_schema(connection), table).drop(connection, checkfirst=True)


def _in(schema: str, table: Table) -> Table:
    return table if table.schema == schema else table.to_metadata(MetaData(), schema=schema)


@contextmanager
def _types_in(connection: Connection, schema: str) -> Iterator[None]:
    """Make types of columns, such as that of an array of an Enum's, in the schema.

    A type without a schema of its own is made in the first of the path, and found on it later.
    """
    before = connection.scalar(_PATH)
    connection.execute(_SET_PATH, {"path": f"{quoted(schema)}, {before}"})
    yield
    connection.execute(_SET_PATH, {"path": before})


def refuse_elsewhere(connection: Connection, projection: str, table: str) -> None:
    """Raises ConfigurationError where the table is in a schema in which this role has no tables.

    The role would miss the table when it drops it, or put a second one before the one that is read.
    """
    own, found = own_schema(connection), connection.scalar(_FOUND_IN, {"name": table})
    if found not in (None, own):
        problem = (
            f"its rows are in {found}.{table}, and this role ({connection.scalar(_ROLE)}) has its tables in {own}: run this as the role "
            "that runs the projection"
        )
        raise ConfigurationError(f"projection {projection!r}", [problem])


def _refuse_hidden(connection: Connection, name: str, schema: str) -> None:
    """Raise ConfigurationError for another table of that name, which readers would find first on their path."""
    found = connection.scalar(_FOUND_IN, {"name": name})
    if found not in (None, schema) and not schema.endswith("_rebuild"):
        problem = f"{found}.{name} stands before it: drop or rename that, or give the projection another name"
        raise ConfigurationError(f"projection table {name!r}", [problem])
