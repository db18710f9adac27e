"""Brings a database's schema up to date, and says when it is not."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from counteract.errors import SchemaOutdated, StoreError
from counteract.store.connecting import APP_ROLE, sync_engine
from counteract.store.translating import translated

# Not Alembic's own name for it: the application may keep tables of its own, under its own Alembic, in the same schema.
VERSION_TABLE = "counteract_version"

_HERE = Path(__file__).parent
_FUNCTIONS = _HERE / "sql"
_RIGHTS = _HERE / "rights.sql"
_MISSING_FUNCTIONS = text("select name from unnest(cast(:names as text[])) as name where to_regproc(name) is null")
# Any number will do, as long as nobody else takes it.
_LOCK = text("select pg_advisory_xact_lock(7203480152)")
# What `set search_path from current` takes down in the functions: a caller's path, temporary tables included, must not
# put other tables or functions before those that they mean.
_PIN_PATH = text("select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)")


def migrate(url: str) -> None:
    """Apply what is missing, all or nothing. Safe to repeat, and to call from several processes at once.

    Connect as the owner of the tables: raises StoreError for the role of the application, and StoreUnavailable.
    The SQL functions of `sql/` are replaced every time: they are code, not history (docs/decisions/0011).
    """
    with translated(), sync_engine(url).begin() as connection:
        if connection.scalar(text("select current_user")) == APP_ROLE:
            raise StoreError(f"{APP_ROLE} is the application's role: migrate as the owner of the database")
        connection.execute(_LOCK)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.execute(_PIN_PATH)
        for path in [*sorted(_FUNCTIONS.glob("*.sql")), _RIGHTS]:
            _execute_script(connection, path.read_text(encoding="utf-8"))


def check_schema(url: str) -> None:
    """Raises SchemaOutdated, naming each missing migration or function.

    A database that is ahead of this code is accepted: during a deployment old processes go on beside new ones.
    """
    with translated(), sync_engine(url).connect() as connection:
        missing = _missing_migrations(connection)
        if not missing:
            names = [path.stem for path in sorted(_FUNCTIONS.glob("*.sql"))]
            missing = [f"function {name}" for name in connection.scalars(_MISSING_FUNCTIONS, {"names": names})]
    if missing:
        raise SchemaOutdated(f"the database lacks {', '.join(missing)}: run `counteract migrate`")


def _missing_migrations(connection: Connection) -> list[str]:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    current = context.get_current_revision()
    history = [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]
    if current is None:
        return history[::-1]
    return history[: history.index(current)][::-1] if current in history else []


def _config() -> Config:
    config = Config()
    # Config reads % as the start of an interpolation.
    config.set_main_option("script_location", str(_HERE / "migrations").replace("%", "%%"))
    return config


def _execute_script(connection: Connection, script: str) -> None:
    # Without parameters, by the driver itself: SQLAlchemy would take the % of a function's body for a placeholder.
    connection.connection.cursor().execute(script)
