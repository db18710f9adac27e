"""`counteract migrate` beside whoever uses the store."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from counteract.dev import EmbeddedPostgres
from counteract.dev.cluster import PROGRAMS_VARIABLE, find_programs
from counteract.dev.fixtures import execute
from counteract.errors import StoreError, StoreUnavailable
from counteract.messages import command_id_of
from counteract.store import ANY, PostgresEventStore
from counteract.store.checks.doctor import diagnose
from counteract.store.postgres.migrate import VERSION_TABLE, check_schema, migrate, script
from tests.commands import counteract
from tests.counters import Counted, counter
from tests.crossing.release_before import unpack_release_before

pytestmark = pytest.mark.integration

VACUUM = "lock table events in share update exclusive mode"
"""What VACUUM, ANALYZE and CREATE INDEX CONCURRENTLY hold for as long as they take."""
APPEND = "lock table events in row exclusive mode"
CATALOGS = ("pg_class", "pg_proc", "pg_trigger", "pg_namespace", "pg_attribute", "pg_description", "pg_constraint")


@asynccontextmanager
async def holding(url: str, lock: str) -> AsyncIterator[None]:
    async with await psycopg.AsyncConnection.connect(url) as holder:
        await holder.execute(lock.encode())
        yield


def catalogs(url: str) -> list[list[tuple[object, ...]]]:
    """Which transaction has written each row: one that is written anew shows, though it says the same."""
    with psycopg.connect(url) as connection:
        connection.execute("set search_path = pg_catalog")
        ours = "select ctid::text, xmin::text from {} order by 1"
        return [connection.execute(ours.format(name).encode()).fetchall() for name in CATALOGS]


@pytest.fixture
async def empty_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    name = f"empty_{uuid4().hex[:8]}"
    await execute(postgres, f"create database {name}")
    yield postgres.url_of(name)
    await execute(postgres, f"drop database {name} with (force)")


async def test_with_nothing_to_do_it_waits_for_nobody(database_url: str) -> None:
    async with holding(database_url, VACUUM), asyncio.timeout(20):
        assert (await asyncio.to_thread(migrate, database_url)).changed == []


async def test_with_nothing_to_do_it_writes_nothing(database_url: str) -> None:
    before = catalogs(database_url)
    migrate(database_url)
    assert catalogs(database_url) == before


async def test_appends_go_on_while_it_waits_for_a_vacuum(database_url: str, event_store: PostgresEventStore) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as owner:
        await owner.execute("drop trigger events_append_only on events")
    slowest = 0.0
    async with holding(database_url, VACUUM):
        migrating = asyncio.create_task(asyncio.to_thread(migrate, database_url))
        for _ in range(40):
            began = time.monotonic()
            await event_store.append(counter("a"), [Counted()], expect=ANY)
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.1)
        assert not migrating.done()
    assert "triggers" in (await migrating).changed
    assert slowest < 4


async def test_a_lock_that_is_never_to_be_had_is_given_up_on(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as owner:
        await owner.execute("drop trigger events_append_only on events")
    async with holding(database_url, VACUUM):
        with pytest.raises(StoreUnavailable, match="held a lock"):
            await asyncio.to_thread(migrate, database_url, patience=0.1)


@pytest.mark.parametrize(
    "change",
    [
        "create or replace function position_at(p_time timestamptz) returns bigint language sql as 'select 1::bigint'",
        "alter function append_event set search_path = pg_temp",
        "alter function append_event security invoker",
        "alter table events enable trigger events_append_only",
        "alter table events disable trigger events_archived",
        "drop trigger events_put_on_record on events",
        "grant update (version) on events to counteract_app",
        "grant execute on function archive_stream to public",
        "revoke select on snapshots from counteract_append",
        "revoke create on schema counteract_rebuild from counteract_app",
    ],
)
async def test_what_was_changed_by_hand_is_put_right(database_url: str, change: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(change.encode())
    assert len(migrate(database_url).changed) == 1
    assert migrate(database_url).changed == []


async def test_tables_of_projections_in_a_restored_copy_are_given_back(database_url: str, app_url: str) -> None:
    """Where the role was new, the copy made them the owner's, without a right of the application's."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("create table counteract_app.totals (id text primary key)")
        owner.execute("create table counteract_rebuild.totals (id text primary key)")
        owner.execute("create materialized view counteract_app.sums as select 1 as one")
    found = {each.check: each for each in [each async for each in diagnose(app_url, patience=0.1)]}
    assert found["projections"].facts["tables"] == [
        "counteract_app.sums",
        "counteract_app.totals",
        "counteract_rebuild.totals",
    ]

    assert migrate(database_url).changed == ["tables of projections"]

    with psycopg.connect(app_url) as application:
        application.execute("drop table totals, counteract_rebuild.totals; drop materialized view sums")
    assert {each.verdict async for each in diagnose(app_url, patience=0.1) if each.check == "projections"} == {"ok"}


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_several_at_once_are_safe_whatever_the_databases_isolation(
    postgres: EmbeddedPostgres, empty_url: str, level: str
) -> None:
    name = conninfo_to_dict(empty_url)["dbname"]
    await execute(postgres, f"alter database {name} set default_transaction_isolation = '{level}'")
    await asyncio.gather(*(asyncio.to_thread(migrate, empty_url) for _ in range(4)))
    check_schema(empty_url)


async def test_an_older_release_says_so_and_changes_nothing(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"update {VERSION_TABLE} set version_num = '9999_of_tomorrow'".encode())
        owner.execute("drop function position_at")
    before = catalogs(database_url)

    done = await counteract("migrate", "--database-url", database_url)

    assert (done.returncode, "9999_of_tomorrow, which is newer than this release" in done.stdout) == (0, True)
    assert catalogs(database_url) == before
    with pytest.raises(StoreError, match="newer than this release"):
        script(database_url)


async def test_the_script_does_what_the_command_would(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = await counteract("migrate", "--sql", "--database-url", empty_url)
    (tmp_path / "migrate.sql").write_text(printed.stdout)
    # The wheel has psql, whichever server this is run on.
    monkeypatch.delenv(PROGRAMS_VARIABLE, raising=False)
    psql = [str(find_programs() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(tmp_path / "migrate.sql")]
    done = await asyncio.to_thread(subprocess.run, [*psql, empty_url], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert migrate(empty_url).changed == []
    assert script(empty_url) == ""


@pytest.mark.long
async def test_the_release_before_goes_on_appending_through_the_upgrade(empty_url: str, tmp_path: Path) -> None:
    """While vacuums follow one upon the other. Its sagas and their workers: test_upgrade."""
    unpack_release_before(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    old = [sys.executable, "-P", "-m", "counteract.cli", "migrate", "--database-url", empty_url]
    await asyncio.to_thread(subprocess.run, old, env=env, check=True, capture_output=True)
    slowest, is_over = 0.0, False

    async def append(number: int) -> None:
        nonlocal slowest
        url = f"{empty_url}&user=counteract_app"
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            while not is_over:
                began = time.monotonic()
                await connection.execute(OLD_APPEND, (str(number), uuid4()))
                slowest = max(slowest, time.monotonic() - began)

    async def vacuum() -> None:
        async with await psycopg.AsyncConnection.connect(empty_url, autocommit=True) as connection:
            while not is_over:
                await connection.execute("vacuum (freeze, disable_page_skipping) events")

    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(append(number))
        tasks.create_task(vacuum())
        await asyncio.sleep(2)
        await asyncio.to_thread(migrate, empty_url)
        await asyncio.sleep(1)
        is_over = True
    check_schema(empty_url)
    assert slowest < 4


OLD_APPEND = (
    "select * from append_event('counter', %s, 0, 2147483647, %s, 'Counted', 1::smallint, '{\"amount\": 1}', '{}')"
)
STARTED = "insert into events (event_id, aggregate_type, aggregate_id, version, event_type, schema_version, \
event_data, metadata) values (gen_random_uuid(), 'saga', %s, %s, %s, 1, jsonb_build_object('run_id', %s::text, 'saga_type', 'Sale'), '{}')"
STEP = "insert into commands (command_id, status, saga_id, saga_type, step, activity_type, task_queue, command) \
values (%s, 'done', %s, 'Sale', 'Sell', 'Sell', 'q', '{}')"
BEFORE_0010 = (
    "delete from sagas; update commands set run_id = null; drop table event_tags, checkpoints; "
    "alter table events drop constraint events_are_objects; "
    f"update {VERSION_TABLE} set version_num = '0007_one_record'"
)


@pytest.fixture
def upgraded_url(database_url: str) -> str:
    """With an open saga under a workflow id that was used before, as they are before 0010."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        for version, event, run in ((1, "SagaStarted", "r1"), (2, "SagaCompleted", "r1"), (3, "SagaStarted", "r2")):
            owner.execute(STARTED, ("sale", version, event, run))
        for run in ("r1", "r2"):
            owner.execute(STEP, (command_id_of("sale", run, "Sell"), "sale"))
        owner.execute(BEFORE_0010.encode())
    return database_url


async def test_open_sagas_get_their_records_and_commands(upgraded_url: str) -> None:
    assert "0010_open_sagas_on_record" in ", ".join(migrate(upgraded_url).changed)
    with psycopg.connect(upgraded_url) as owner:
        assert owner.execute("select saga_id, run_id, state, epoch from sagas").fetchall() == [
            ("sale", "r2", "forward", 0)
        ]
        rows = owner.execute("select command_id, run_id from commands").fetchall()
    assert set(rows) == {(command_id_of("sale", "r1", "Sell"), None), (command_id_of("sale", "r2", "Sell"), "r2")}


async def test_open_sagas_are_looked_for_beside_open_appends(upgraded_url: str) -> None:
    async with asyncio.timeout(30):
        async with holding(upgraded_url, APPEND):
            migrating = asyncio.create_task(asyncio.to_thread(migrate, upgraded_url))
            # Only what adds to the table itself waits for the append.
            while revision_of(upgraded_url) != "0013_tags_and_checkpoints":  # noqa: ASYNC110 - it happens in the database
                await asyncio.sleep(0.05)
        await migrating
    check_schema(upgraded_url)


def revision_of(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"select version_num from {VERSION_TABLE}".encode()).fetchone()
    return str(row[0]) if row else ""


@pytest.mark.parametrize("length", [0, 1, 40, 60, 61, 68, 120, 500])
async def test_a_commands_id_is_computed_by_the_database_as_by_the_saga(database_url: str, length: int) -> None:
    """Over every length of SHA-1's padding."""
    run, step = "ü" * length, "Schritt"
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(STARTED, ("sale", 1, "SagaStarted", run))
        owner.execute(STEP, (command_id_of("sale", run, step), "sale"))
        owner.execute("update commands set step = %s", (step,))
        owner.execute(BEFORE_0010.encode())
    migrate(database_url)
    with psycopg.connect(database_url) as owner:
        assert owner.execute("select run_id from commands").fetchone() == (run,)
