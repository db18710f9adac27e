"""`counteract doctor` finds what is really wrong with real servers, and says what to do."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from counteract.dev import EmbeddedPostgres, EmbeddedTemporal
from counteract.dev.fixtures import execute
from counteract.store import ANY, MasterKey, PostgresEventStore
from counteract.store.checks.doctor import diagnose
from counteract.store.checks.finding import Finding, Verdict
from counteract.store.expect import StreamChange
from counteract.store.master_key import MASTER_KEY_VARIABLE
from counteract.store.postgres.append import APPEND_ONE, append_arguments
from tests.commands import counteract
from tests.counters import Counted, counter
from tests.customers import register

pytestmark = [pytest.mark.integration, pytest.mark.program]

CHECKS = [
    "database",
    "connection",
    "version",
    "writes",
    "encoding",
    "schema",
    "role",
    "projections",
    "idle timeout",
    "clock",
    "appenders",
    "sequence",
    "high water mark",
    "master key",
]


async def examined(url: str, **options: Any) -> dict[str, Finding]:
    return {each.check: each async for each in diagnose(url, **{"patience": 0.2} | options)}


async def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "TEMPORAL_"))}
    return await counteract("doctor", *arguments, environment=own | environment)


async def owners(url: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(statement)


async def test_a_sound_database_has_nothing_but_good_to_be_said_of_it(app_url: str) -> None:
    found = await examined(app_url)
    assert list(found) == CHECKS
    assert {each.verdict for each in found.values()} == {Verdict.OK}


async def test_a_database_that_does_not_answer_is_the_only_finding(app_url: str) -> None:
    found = await examined("postgresql://nobody@/none?host=/nowhere")
    assert list(found) == ["database"]
    assert found["database"].verdict is Verdict.PROBLEM


async def test_a_migration_that_is_missing_is_named(database_url: str, app_url: str) -> None:
    await owners(database_url, "update counteract_version set version_num = '0003_snapshots_and_personal_keys'")
    schema = (await examined(app_url))["schema"]
    assert schema.verdict is Verdict.PROBLEM
    assert "lacks 0004_archived_streams, 0005_leases_and_parked_events" in schema.what
    assert "counteract migrate" in schema.remedy


async def test_a_database_that_was_never_migrated_has_only_that_said_of_it(postgres: EmbeddedPostgres) -> None:
    await execute(postgres, "create database bare")
    found = await examined(postgres.url_of("bare"))
    await execute(postgres, "drop database bare")
    assert [check for check, each in found.items() if each.verdict is Verdict.PROBLEM] == ["schema"]
    assert found["appenders"].verdict is Verdict.SKIPPED


async def test_the_owner_is_advised_against(database_url: str) -> None:
    role = (await examined(database_url))["role"]
    assert role.verdict is Verdict.ADVICE
    assert "let the application connect as counteract_app" in role.remedy


async def test_a_role_that_may_write_past_the_functions_is_a_problem(database_url: str, app_url: str) -> None:
    await owners(database_url, "grant insert on events to counteract_app")
    role = (await examined(app_url))["role"]
    assert role.verdict is Verdict.PROBLEM
    assert "insert" in role.what


async def test_a_role_that_lacks_a_right_is_told_which(database_url: str, app_url: str) -> None:
    await owners(database_url, "revoke execute on function append_event from counteract_app")
    role = (await examined(app_url))["role"]
    assert role.verdict is Verdict.PROBLEM
    assert "append_event" in role.what


async def test_an_append_that_is_stuck_is_named_with_what_it_does_but_not_with_what_it_writes(app_url: str) -> None:
    change = StreamChange(counter("secret-id"), 0, 0, [Counted(note="ann@example.com")])
    one = append_arguments([change], {}).of_one_event
    async with await psycopg.AsyncConnection.connect(app_url, application_name="dawdler") as dawdler:
        await dawdler.execute(f"select {APPEND_ONE}", one)
        found = await examined(app_url)
        pid = dawdler.info.backend_pid
    stuck, mark = found["appenders"], found["high water mark"]
    assert stuck.verdict is mark.verdict is Verdict.PROBLEM
    assert f"pid {pid} (counteract_app, dawdler)" in stuck.what
    assert "idle in transaction: select" in stuck.what
    assert stuck.remedy.endswith(f"pg_terminate_backend({pid})")
    assert "subscribers see none of the last" in mark.what
    assert "secret-id" not in str(found)
    assert "ann@example.com" not in str(found)


async def test_a_prepared_transaction_that_has_appended_is_named(database_url: str, app_url: str) -> None:
    one = append_arguments([StreamChange(counter("a"), 0, 0, [Counted()])], {}).of_one_event
    async with await psycopg.AsyncConnection.connect(app_url) as connection:
        await connection.execute(f"select {APPEND_ONE}", one)
        try:
            await connection.execute("prepare transaction 'left behind'")
        except psycopg.errors.ObjectNotInPrerequisiteState:
            pytest.skip("this server allows no prepared transactions")
    stuck = (await examined(app_url))["appenders"]
    await owners(app_url, "rollback prepared 'left behind'")
    assert stuck.verdict is Verdict.PROBLEM
    assert "the prepared transaction 'left behind' of counteract_app" in stuck.what
    assert "rollback prepared 'left behind'" in stuck.remedy


async def test_a_clock_that_differs_is_a_problem(app_url: str) -> None:
    clock = (await examined(app_url, now=lambda: datetime.now(UTC) + timedelta(seconds=90)))["clock"]
    assert clock.verdict is Verdict.PROBLEM
    assert "90.0 s behind this machine's" in clock.what


async def test_a_master_key_that_opens_nothing_is_found(
    event_store: PostgresEventStore, app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(event_store)
    monkeypatch.setenv(MASTER_KEY_VARIABLE, MasterKey.new())
    assert (await examined(app_url))["master key"].verdict is Verdict.PROBLEM
    monkeypatch.setenv(MASTER_KEY_VARIABLE, "nonsense")
    assert (await examined(app_url))["master key"].verdict is Verdict.PROBLEM
    monkeypatch.delenv(MASTER_KEY_VARIABLE)
    assert (await examined(app_url))["master key"].verdict is Verdict.ADVICE


async def test_a_person_reads_a_line_for_each_and_the_next_move(app_url: str, event_store: PostgresEventStore) -> None:
    await event_store.append(counter("a"), [Counted()], expect=ANY)
    told = await doctor("--patience", "0.2", "--no-temporal", DATABASE_URL=app_url)
    assert told.returncode == 0
    assert [line.split("  ")[0].strip() for line in told.stdout.splitlines()] == ["ok"] * len(CHECKS)
    lost = await doctor("--no-temporal")
    assert lost.returncode == 1
    assert lost.stdout.split() == [
        *("problem", "database", "which", "database?", "→", "give", "--database-url", "or", "set", "DATABASE_URL")
    ]


async def test_a_program_reads_one_document(database_url: str) -> None:
    told = await doctor("--patience", "0.2", "--json", "--no-temporal", DATABASE_URL=database_url)
    document = json.loads(told.stdout)
    assert (told.returncode, document["ok"]) == (0, True)
    assert [each["check"] for each in document["checks"]] == CHECKS
    assert document["checks"][6]["verdict"] == "advice"


async def test_the_temporal_server_is_looked_at_with_its_search_attributes_and_workers(
    app_url: str, temporal: EmbeddedTemporal
) -> None:
    told = await doctor(
        "--patience",
        "0.2",
        "--json",
        "--task-queue",
        "nobody-listens",
        DATABASE_URL=app_url,
        TEMPORAL_ADDRESS=temporal.address,
    )
    checks = {each["check"]: each for each in json.loads(told.stdout)["checks"] if each["check"] not in CHECKS}
    queues = [each for each in json.loads(told.stdout)["checks"] if each["check"] == "workers"]
    assert told.returncode == 1
    assert (checks["temporal"]["verdict"], checks["search attributes"]["verdict"]) == ("ok", "ok")
    assert "no worker takes sagas from the task queue nobody-listens" in [each["what"] for each in queues]


async def test_a_temporal_server_that_is_not_there_is_a_problem(app_url: str) -> None:
    told = await doctor("--patience", "0.2", "--address", "127.0.0.1:1", DATABASE_URL=app_url)
    assert told.returncode == 1
    assert any(line.startswith("problem  temporal") for line in told.stdout.splitlines())
