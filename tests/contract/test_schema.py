"""The database that `migrate` makes is the one that the code declares."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from counteract.dev.fixtures import execute
from counteract.dev.postgres import EmbeddedPostgres
from counteract.errors import SchemaOutdated, StoreUnavailable
from counteract.store.postgres import migrate as migrate_module
from counteract.store.postgres.connect import sync_engine
from counteract.store.postgres.migrate import VERSION_TABLE, check_schema, migrate
from counteract.store.postgres.schema import metadata

pytestmark = pytest.mark.contract


@pytest.fixture
async def empty_url(postgres: EmbeddedPostgres) -> Any:
    await execute(postgres, "create database unmigrated")
    yield postgres.url_of("unmigrated")
    await execute(postgres, "drop database unmigrated with (force)")


def differences(connection: Connection) -> list[Any]:
    def is_ours(_: Any, name: str | None, kind: str, *__: Any) -> bool:
        return not (kind == "table" and name == VERSION_TABLE)

    options = {"compare_type": True, "compare_server_default": True, "include_object": is_ours}
    with warnings.catch_warnings():
        # Of a constraint that is not valid, SQLAlchemy warns that it does not know its own word for that.
        warnings.filterwarnings("ignore", message="Can't validate argument 'dialect_options'")
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


async def test_the_migrated_schema_is_the_declared_one(database_url: str) -> None:
    with sync_engine(database_url).connect() as connection:
        assert differences(connection) == []


@pytest.mark.parametrize(
    "change",
    [
        "alter table events drop column schema_version",
        "alter table events alter column version type bigint",
        "drop index commands_undoes_idx",
        "alter table subscriptions alter column epoch drop not null",
    ],
)
async def test_a_difference_is_noticed(database_url: str, change: str) -> None:
    with sync_engine(database_url).connect() as connection:
        connection.exec_driver_sql(change)
        assert differences(connection)


async def test_what_alembic_does_not_compare_is_the_same_too(database_url: str, empty_url: str) -> None:
    with sync_engine(empty_url).begin() as connection:
        metadata.create_all(connection)
    assert details(empty_url) == details(database_url)


def details(url: str) -> list[Any]:
    """Constraints and collations of our tables, as PostgreSQL words them."""
    query = """
        select conrelid::regclass::text, conname, replace(pg_get_constraintdef(oid), ' NOT VALID', '') from pg_constraint
        where conrelid = any (%(tables)s::regclass[])
        union all
        select attrelid::regclass::text, attname, coalesce(attcollation::regcollation::text, '') || attidentity::text
        from pg_attribute
        where attrelid = any (%(tables)s::regclass[]) and attnum > 0
        union all
        select indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index
        where indrelid = any (%(tables)s::regclass[])
        order by 1, 2, 3
    """
    with psycopg.connect(url) as connection:
        return connection.execute(query, {"tables": list(metadata.tables)}).fetchall()


async def test_positions_are_never_cached_by_a_session(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select seqcache from pg_sequence where seqrelid = 'events_position_seq'::regclass")
        assert row.fetchone() == (1,)


async def test_migrating_at_once_from_several_processes_is_safe(empty_url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, empty_url) for _ in range(4)))
    check_schema(empty_url)


async def test_a_missing_migration_is_named_with_the_remedy(empty_url: str) -> None:
    with pytest.raises(SchemaOutdated, match=r"0001_event_store.*counteract migrate"):
        check_schema(empty_url)


async def test_a_missing_function_is_named(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("drop function repeated_append")
    with pytest.raises(SchemaOutdated, match="function repeated_append"):
        check_schema(database_url)
    migrate(database_url)
    check_schema(database_url)


async def test_a_database_ahead_of_this_code_is_accepted(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(f"update {VERSION_TABLE} set version_num = '9999_of_tomorrow'")
    check_schema(database_url)


async def test_a_migration_that_was_interrupted_goes_on_where_it_was(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("in the middle")

    with monkeypatch.context() as interrupted:
        interrupted.setattr(migrate_module, "_execute_script", fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            migrate(empty_url)
    with pytest.raises(SchemaOutdated):
        check_schema(empty_url)
    migrate(empty_url)
    check_schema(empty_url)


@pytest.mark.parametrize("use", [migrate, check_schema])
def test_a_database_out_of_reach_is_named_as_such(use: Callable[[str], None]) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        use("postgresql://user@localhost:1/db")


async def test_another_schema_on_the_search_path_is_used(empty_url: str) -> None:
    with psycopg.connect(empty_url) as connection:
        connection.execute("create schema shop")
    url = f"{empty_url}&options=-csearch_path%3Dshop"
    migrate(url)
    check_schema(url)
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("select to_regclass('events'), to_regclass('shop.events')::text").fetchone() == (
            None,
            "shop.events",
        )


def test_each_sql_file_holds_the_function_of_its_name() -> None:
    for path in Path(migrate_module.__file__).parent.glob("sql/*.sql"):
        assert re.findall(r"create or replace function (\w+)", path.read_text()) == [path.stem]


def test_reading_the_store_does_not_load_the_migration_tool() -> None:
    script = "import sys, counteract.store; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
