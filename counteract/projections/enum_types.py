"""PostgreSQL's types for columns that hold members of an Enum: a type gets the members that it lacks."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import ARRAY, Connection, Enum, MetaData, Table, text
from sqlalchemy.dialects.postgresql import DOMAIN

from counteract.projections.identifiers import plain, quoted

_MEMBERS = text("""
    select enumlabel from pg_enum where enumtypid = to_regtype(:name)
""")


def moved(table: Table, schema: str) -> Table:
    """Return a copy of the table in another schema. The types of its columns stay where they are: SQLAlchemy would move
    them along, and a table that changes its schema later leaves them behind.
    """
    other = table.to_metadata(MetaData(), schema=schema)
    for its, own in zip(other.columns, table.columns, strict=True):
        if isinstance(its.type, Enum | DOMAIN) and isinstance(own.type, Enum | DOMAIN):
            its.type.schema = own.type.schema
    return other


def add_members(connection: Connection, table: Table, schema: str) -> None:
    """Add the members that the columns' Enums have and their types, in `schema`, lack.

    Members are never taken away, for rows may have them. A type that does not exist is made with the table.
    """
    for each in _enums(table):
        name = quoted(each.schema or schema, each.name or "")
        known = connection.execute(_MEMBERS, {"name": name}).scalars().all()
        for member in each.enums if known else ():
            if member not in known:
                label = member.replace("'", "''")
                connection.exec_driver_sql(plain(f"alter type {name} add value if not exists '{label}'"))


def _enums(table: Table) -> Iterator[Enum]:
    for column in table.columns:
        kind = column.type.item_type if isinstance(column.type, ARRAY) else column.type
        if isinstance(kind, Enum) and kind.native_enum and kind.name:
            yield kind
