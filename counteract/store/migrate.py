"""Brings a database's schema up to date, and says when it is not."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from counteract.errors import StoreError
from counteract.store import inspecting, sequence
from counteract.store.connecting import APP_ROLE, sync_engine
from counteract.store.inspecting import FUNCTION_FILES, VERSION_TABLE
from counteract.store.translating import translated

__all__ = ["VERSION_TABLE", "check_schema", "migrate"]

_HERE = Path(__file__).parent
_RIGHTS = _HERE / "rights.sql"
_ENCODING = text("select current_setting('server_encoding')")
# Any number will do, as long as nobody else takes it.
_LOCK = text("select pg_advisory_xact_lock(7203480152)")
# What `set search_path from current` takes down in the functions: a caller's path, temporary tables included, must not
# put other tables or functions before those that they mean.
_PIN_PATH = text("select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)")


def migrate(url: str) -> None:
    """Apply what is missing, all or nothing. Safe to repeat, and to call from several processes at once.

    Connect as the owner of the tables: raises StoreError for the role of the application, ConfigurationError
    for a database whose encoding is not UTF-8, and StoreUnavailable.
    The SQL functions of `sql/` are replaced every time: they are code, not history (docs/decisions/0011). A sequence that
    was left behind by its log is brought forward.
    """
    with translated(), sync_engine(url).begin() as connection:
        if connection.scalar(text("select current_user")) == APP_ROLE:
            raise StoreError(f"{APP_ROLE} is the application's role: migrate as the owner of the database")
        inspecting.refuse_encoding(str(connection.scalar(_ENCODING)))
        connection.execute(_LOCK)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.execute(_PIN_PATH)
        for path in [*FUNCTION_FILES, _RIGHTS]:
            _execute_script(connection, path.read_text(encoding="utf-8"))
        _execute_script(connection, sequence.BRING_FORWARD)


def check_schema(url: str) -> None:
    """Raises SchemaOutdated, naming each missing migration or function, and ConfigurationError for another encoding than UTF-8.

    A database that is ahead of this code is accepted: during a deployment old processes go on beside new ones.
    """
    with translated():
        inspecting.check_schema(url)


def _config() -> Config:
    config = Config()
    # Config reads % as the start of an interpolation.
    config.set_main_option("script_location", str(_HERE / "migrations").replace("%", "%%"))
    return config


def _execute_script(connection: Connection, script: str) -> None:
    # Without parameters, by the driver itself: SQLAlchemy would take the % of a function's body for a placeholder.
    connection.connection.cursor().execute(script)
