"""Migrations: bring a database's schema up to date, and say where it is not."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from counteract.errors import StoreError
from counteract.store.postgres import readiness, sequence
from counteract.store.postgres.connect import sync_engine
from counteract.store.postgres.driver_errors import translated
from counteract.store.postgres.install.functions import function_changes, trigger_changes
from counteract.store.postgres.install.names import application_roles, name_changes, path_changes, store_of
from counteract.store.postgres.install.rights import right_changes, role_changes, table_changes
from counteract.store.postgres.install.turns import PATIENCE, header, in_turn, retried, settle_session
from counteract.store.postgres.names import StoreName
from counteract.store.postgres.readiness import REVISIONS, VERSION_TABLE

__all__ = ["VERSION_TABLE", "Migrated", "check_schema", "migrate", "script"]

_MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION = text(f"select version_num from {VERSION_TABLE}")  # noqa: S608 - a constant
_STATE = text(f"""
    select current_user, current_setting('server_encoding'), to_regclass('{VERSION_TABLE}') is not null
""")


@dataclass(frozen=True, slots=True)
class Migrated:
    """The outcome of `migrate`."""

    newer: str | None = None
    """The revision of the database, where this release does not know it: then nothing was changed."""
    changed: Sequence[str] = ()
    """The parts that were not as they should be and are now; none for an up-to-date database."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A part of a migration, in a transaction of its own."""

    name: str
    script: Callable[[Connection], str]
    """The SQL that puts the part right; empty where nothing differs."""
    run: Callable[[Connection], bool]
    """Put the part right; whether anything differed."""


def migrate(url: str, *, name: str | None = None, patience: float = PATIENCE) -> Migrated:
    """Apply what is missing, and touch nothing else. Safe to repeat, also after an interruption, and from several
    processes.

    It goes on beside appends: where it needs a moment without them it asks for one for about a second, and again later,
    for `patience` seconds in all; then it raises StoreUnavailable. A database that a newer release has migrated is left
    as it is.

    A database may have several stores, each in a schema of its own, which comes first on the URL's search_path, and
    with a `name` of its own (by default `counteract`), by which its roles are named: `<name>_app` and others. The name
    is given once, and kept.

    Connect as the owner of the tables, and not through a pooler. Raises StoreError for the role of the application,
    ConfigurationError for a database whose encoding is not UTF-8, and StoreUnavailable.
    """
    with translated(), sync_engine(url, directly_for="a migration").connect() as connection:
        settle_session(connection)
        with in_turn(connection, patience):
            revision = _revision(connection)
            if revision is not None and revision not in REVISIONS:
                return Migrated(newer=revision)
            steps = _steps(revision, store_of(connection, name))
            changed = [step.name for step in steps if retried(partial(step.run, connection), patience)]
            return Migrated(changed=changed)


def script(url: str, *, name: str | None = None) -> str:
    """The SQL that `migrate` would execute now, for psql; empty where there is nothing to do. Raises as `migrate` does.

    It stops nobody for longer than `migrate` does, but fails where it cannot have a lock: run it again, or print it
    anew.
    """
    with translated(), sync_engine(url, directly_for="a migration").connect() as connection:
        settle_session(connection)
        revision = _revision(connection)
        if revision is not None and revision not in REVISIONS:
            raise StoreError(f"the database is at {revision}, which is newer than this release")
        found = dict[str, str]()
        for step in _steps(revision, store_of(connection, name)):
            # The rights are looked at twice, and differ once: when all tables are there.
            found.pop(step.name, None)
            found[step.name] = step.script(connection)
        parts = [f"-- {name}\n{part}" for name, part in found.items() if part]
        return "\n".join([header(connection), *parts]) if parts else ""


def check_schema(url: str) -> None:
    """Raises SchemaOutdated, naming each missing migration or function, and ConfigurationError for an encoding not
    UTF-8.

    A database that is ahead of this code is accepted: during a deployment old processes go on beside new ones.
    """
    with translated():
        readiness.check_schema(url)


def _revision(connection: Connection) -> str | None:
    """The database's revision, if it has one.

    Raises StoreError for the application's role, and ConfigurationError for an encoding other than UTF-8.
    """
    with connection.begin():
        role, encoding, is_versioned = connection.execute(_STATE).one()
        if role in application_roles(connection):
            raise StoreError(f"{role} is the application's role: migrate as the owner of the database")
        readiness.refuse_encoding(str(encoding))
        return connection.scalar(_VERSION) if is_versioned else None


def _steps(revision: str | None, store: StoreName) -> Iterator[_Step]:
    """The parts of a migration in their order: tables, then functions, which need them, then revisions that need
    functions.
    """
    pending = REVISIONS[REVISIONS.index(revision) + 1 :] if revision else REVISIONS
    versions = ScriptDirectory.from_config(_config())
    early = list(takewhile(lambda each: not hasattr(versions.get_revision(each).module, "AFTER_FUNCTIONS"), pending))
    if early:
        yield _revisions_step(early)
    yield _step("name", partial(name_changes, store=store))
    yield _step("roles", partial(role_changes, store=store))
    yield _step("functions", function_changes)
    yield _step("triggers", trigger_changes)
    late = pending[len(early) :]
    yield _step("rights", partial(right_changes, store=store, all_there=not late))
    yield _step("path", partial(path_changes, store=store))
    yield _step("tables of projections", partial(table_changes, store=store))
    yield _step("sequence", sequence.changes)
    if late:
        yield _revisions_step(late)
        yield _step("rights", partial(right_changes, store=store))


def _revisions_step(revisions: Sequence[str]) -> _Step:
    """The step of these revisions, each in a transaction of its own: repeated, it goes on with the first that is
    missing.
    """
    first = REVISIONS.index(revisions[0])
    before = REVISIONS[first - 1] if first else "base"

    def script(_: Connection) -> str:
        printed = io.StringIO()
        command.upgrade(_config(output=printed), f"{before}:{revisions[-1]}", sql=True)
        return printed.getvalue()

    def run(connection: Connection) -> bool:
        command.upgrade(_config(connection), revisions[-1])
        return True

    return _Step(", ".join(revisions), script, run)


def _step(name: str, scripts: Callable[[Connection], Sequence[str]]) -> _Step:
    def run(connection: Connection) -> bool:
        with connection.begin():
            found = scripts(connection)
            for each in found:
                _execute_script(connection, each)
        return bool(found)

    def script(connection: Connection) -> str:
        with connection.begin():
            found = scripts(connection)
        return "\n".join(["begin;", *found, "commit;\n"]) if found else ""

    return _Step(name, script, run)


def _config(connection: Connection | None = None, output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output)
    # Config reads % as the start of an interpolation.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _execute_script(connection: Connection, script: str) -> None:
    # Without parameters, by the driver itself: SQLAlchemy would take a % in a function's body for a placeholder.
    connection.connection.cursor().execute(script)
