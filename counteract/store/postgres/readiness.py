"""Readiness: the encoding, migrations and functions that a database must have before events go into it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from counteract.errors import ConfigurationError, SchemaOutdated
from counteract.store.postgres import sequence
from counteract.store.postgres.connect import Connection, connected_once
from counteract.store.postgres.schema import metadata

VERSION_TABLE = "counteract_version"
"""The table with the store's revision.

Its name is not Alembic's own: the application may keep tables under an Alembic of its own in the same schema.
"""
RESERVED = frozenset({*metadata.tables, VERSION_TABLE})
"""Names of tables that no projection may have."""

_HERE = Path(__file__).parent
REVISIONS = tuple(sorted(path.stem for path in (_HERE / "migrations" / "versions").glob("[0-9]*.py")))
"""All revisions, in order. They are read from the names of the files, for Alembic takes longer to load than a store to
open.
"""
FUNCTION_FILES = tuple(sorted((_HERE / "sql").glob("*.sql")))

# Asked by two statements: the second cannot even be parsed where the first finds no table.
_LOOK = f"""
    select current_setting('server_encoding'), to_regclass('{VERSION_TABLE}') is not null,
           array(select name from unnest(%s::text[]) as name where to_regproc(name) is null)
"""  # noqa: S608 - a constant
_REVISION = f"select version_num from {VERSION_TABLE}"  # noqa: S608 - a constant
FUNCTIONS = tuple(path.stem for path in FUNCTION_FILES)


class Seen(NamedTuple):
    """The state of a database, against what this version needs."""

    encoding: str
    is_versioned: bool
    missing_functions: Sequence[str]
    revision: str | None = None

    @property
    def missing(self) -> Sequence[str]:
        """The migrations, or else the functions, that this version needs and the database lacks."""
        return _after(self.revision) or [f"function {name}" for name in self.missing_functions]


async def check_database(connection: Connection) -> None:
    """Check that a database can be used.

    Raises ConfigurationError for an encoding other than UTF-8, and SchemaOutdated with the names of all that is
    missing, or where the sequence of positions is behind the log. A database that is ahead of this code is accepted:
    during a deployment old processes go on beside new ones.
    """
    _refuse(await look_at(connection))
    sequence.refuse(await sequence.positions(connection))


async def look_at(connection: Connection) -> Seen:
    """The state of the database that the connection leads to."""
    seen = Seen(*await (await connection.execute(_LOOK, (list(FUNCTIONS),))).fetchone() or ())
    row = await (await connection.execute(_REVISION)).fetchone() if seen.is_versioned else None
    return seen._replace(revision=row[0] if row else None)


def check_schema(url: str) -> None:
    """Check what `check_database` does, and raise as it does, for one-off work without an event loop."""
    with connected_once(url) as connection:
        seen = Seen(*connection.execute(_LOOK, (list(FUNCTIONS),)).fetchone() or ())
        row = connection.execute(_REVISION).fetchone() if seen.is_versioned else None
        _refuse(seen._replace(revision=row[0] if row else None))
        positions = connection.execute(sequence.POSITIONS).fetchone() or (0, 0)
    sequence.refuse(sequence.Positions(*positions))


def refuse_encoding(encoding: str) -> None:
    """Raises ConfigurationError for an encoding other than UTF-8: not all text could be stored, or be trusted."""
    if encoding != "UTF8":
        problem = f"its encoding is {encoding}: create one with `encoding 'UTF8' template template0`, and migrate that"
        raise ConfigurationError("the database cannot hold events", [problem])


def _refuse(seen: Seen) -> None:
    refuse_encoding(seen.encoding)
    if seen.missing:
        raise SchemaOutdated(f"the database lacks {', '.join(seen.missing)}: run `counteract migrate`")


def _after(revision: str | None) -> Sequence[str]:
    if revision is None:
        return REVISIONS
    return REVISIONS[REVISIONS.index(revision) + 1 :] if revision in REVISIONS else ()
