"""What the application's role may do, and every way that we know to cheat with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Column, Text

from counteract.dev import EmbeddedPostgres
from counteract.dev.fixtures import as_application, execute
from counteract.errors import ConfigurationError, StoreError, WrongExpectedVersion
from counteract.projections import Projection, ProjectionRunner, Put
from counteract.projections.rebuilding import rebuild
from counteract.store import ANY, NO_STREAM, Appended, PostgresEventStore
from counteract.store.connecting import APP_ROLE
from counteract.store.diagnosing import diagnose
from counteract.store.migrate import check_schema, migrate
from counteract.store.schema import metadata
from counteract.store.wire import APPEND_PLACEHOLDERS, StreamChange, append_arguments
from tests.counters import Counted, CounterReset, counter, counters
from tests.writers import skip_without_merge

pytestmark = pytest.mark.integration

A = counter("a")


@pytest.fixture
async def store(app_url: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore.open(app_url) as store:
        yield store


async def test_the_application_appends_loads_and_reads(store: PostgresEventStore, app_url: str) -> None:
    assert await store.append(A, [Counted(amount=2)], expect=NO_STREAM) == Appended(1, 1, (1,))
    assert (await store.load(counters, "a")).state == 2
    assert [each.stream for each in await store.read()] == [A]
    with pytest.raises(WrongExpectedVersion):
        await store.append(A, [Counted()], expect=NO_STREAM)
    check_schema(app_url)


_ROW = "(event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata)"
CHEATS = {
    "a false version": f"insert into events {_ROW} values (gen_random_uuid(), 'counter', 'a', 7, 'Counted', 1, '{{}}', '{{}}')",
    "an update": "update events set version = 2",
    "a deletion": "delete from events",
    "a truncation": "truncate events",
    "a merge": "merge into events e using events o on e.position = o.position when matched then delete",
    "no triggers": "alter table events disable trigger all",
    "triggers that rest": "set session_replication_role = replica",
    "no trigger": "drop trigger events_append_only on events",
    "another trigger": "create trigger mine before insert on events for each row execute function suppress_redundant_updates_trigger()",
    "a function that refuses nothing": "create or replace function public.refuse_event_changes() returns trigger "
    "language plpgsql as 'begin return new; end'",
    "no table": "drop table events",
    "no constraint": "alter table events drop constraint events_pkey",
    "a copy": "copy events from stdin",
    "a lock that stops readers": "lock table events in access exclusive mode",
    "a lock that holds up subscribers": "lock table events in row exclusive mode",
    "a position": "select nextval('events_position_seq')",
    "positions anew": "select setval('events_position_seq', 1)",
    "an answer of its own": "insert into commands (command_id, status, saga_id, saga_type, step, activity_type, "
    "task_queue, command) values (gen_random_uuid(), 'done', 's', 'S', 'x', 'X', 'q', '{}')",
    "an answer withdrawn": "update commands set status = 'fenced'",
    "a rule": "create rule mine as on insert to events do instead nothing",
    "a function in the owner's schema": "create function public.coalesce_it(text) returns text language sql as 'select 1'",
    "the owner's rights": "set role postgres",
    "more rights": "alter role counteract_app superuser",
    "another schema version": "update counteract_version set version_num = 'x'",
    "an archiving": "select archive_stream('counter', 'a', 1, stream_digest('counter', 'a', 1), 'file')",
    "a record of an archive": "insert into archived_streams (aggregate_type, aggregate_id, last_version, first_position, "
    "last_position, digest, file) values ('counter', 'a', 1, 1, 1, stream_digest('counter', 'a', 1), 'file')",
    "a record withdrawn": "delete from archived_streams",
    "an archiving function of its own": "do 'begin create function counteract_app.archive_stream() returns void "
    "language plpgsql as $$begin delete from public.events; end$$; perform counteract_app.archive_stream(); end'",
}


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS)
async def test_the_application_cannot_cheat(postgres: EmbeddedPostgres, store: PostgresEventStore, cheat: str) -> None:
    skip_without_merge(postgres, cheat)
    await store.append(A, [Counted()], expect=ANY)
    before = await store.read()
    with pytest.raises(StoreError, match="may not do this"):
        async with store.connection() as connection, connection.transaction():
            await connection.execute(cheat)
    assert await store.read() == before


async def test_rights_that_it_grants_itself_are_none(app_url: str) -> None:
    with psycopg.connect(app_url, autocommit=True) as application:
        application.execute("grant all on events to counteract_app")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            application.execute("delete from events")


async def test_the_owner_cannot_change_events_either(database_url: str, store: PostgresEventStore) -> None:
    await store.append(A, [Counted()], expect=ANY)
    with psycopg.connect(database_url) as owner:
        owner.execute("set session_replication_role = replica")
        with pytest.raises(psycopg.Error, match="append-only"):
            owner.execute("delete from events")


_MINE = (
    "create function public.archive_stream() returns void language plpgsql as 'begin {}; end'; select archive_stream()"
)
_RECORD = (
    "insert into archived_streams (aggregate_type, aggregate_id, last_version, first_position, last_position, digest, "
    "file) select 'counter', 'a', {0}, 1, {0}, sha256(string_agg(sha256(convert_to(event_line(e), 'UTF8')), '' "
    "order by version)), 'file' from events e where aggregate_id = 'a' and {1};"
)
_OF_A = "delete from events where aggregate_id = ''a'' and "
OWNERS_CHEATS = {
    "the name in a remark": "do 'begin delete /* archive_stream(text) */ from events; end'",
    "a function of that name": _MINE.format("delete from events"),
    "its triggers at rest": "set session_replication_role = replica;" + _MINE.format("delete from events"),
    "an update by it": _MINE.format("update events set version = 9"),
    "a truncation by it": _MINE.format("truncate events"),
    "a digest of nothing": "select archive_stream('counter', 'a', 2, '', 'file')",
    "a digest of less": "select archive_stream('counter', 'a', 2, stream_digest('counter', 'a', 1), 'file')",
    "a record of less": _RECORD.format(2, "version = 1") + _MINE.format(_OF_A + "version <= 2"),
    "less than the record": _RECORD.format(2, "version <= 2") + _MINE.format(_OF_A + "version = 1"),
    "more than the record": _RECORD.format(1, "version = 1") + _MINE.format(_OF_A + "version <= 2"),
    "the middle": _RECORD.format(2, "version = 2") + _MINE.format(_OF_A + "version = 2"),
    "the last event too": _RECORD.format(3, "true") + _MINE.format(_OF_A + "true"),
    "another stream too": _RECORD.format(2, "version <= 2") + _MINE.format("delete from events where version <= 2"),
}


@pytest.mark.parametrize("cheat", OWNERS_CHEATS.values(), ids=OWNERS_CHEATS)
async def test_the_owner_lets_no_events_go_that_are_not_archived(
    database_url: str, store: PostgresEventStore, cheat: str
) -> None:
    for stream in (A, counter("b")):
        await store.append(stream, [Counted()] * 3, expect=NO_STREAM)
    before = await store.read()
    with (
        psycopg.connect(database_url) as owner,
        pytest.raises(psycopg.Error, match=r"append-only|that no archive holds"),
    ):
        owner.execute(cheat.encode())
    assert await store.read() == before


async def test_archiving_spares_a_streams_last_event(database_url: str, store: PostgresEventStore) -> None:
    await store.append(A, [Counted()] * 3, expect=NO_STREAM)
    with psycopg.connect(database_url) as owner:
        for last, answer in ((3, False), (1, False), (2, True)):
            call = "select archive_stream('counter', 'a', %s, stream_digest('counter', 'a', %s), 'file')"
            assert owner.execute(call, (last, last)).fetchone() == (answer,)
    assert [each.version for each in await store.read()] == [3]


async def test_a_table_of_the_callers_does_not_take_the_place_of_the_events(store: PostgresEventStore) -> None:
    """With a temporary table in front, or a schema of its own, the checks would look at what the caller made up."""
    await store.append(A, [Counted()], expect=NO_STREAM)
    for make in [
        "create temp table events (like public.events)",
        "create table counteract_app.events (like public.events)",
    ]:
        async with store.connection() as connection, connection.transaction() as transaction:
            await connection.execute(make)
            arguments = append_arguments([StreamChange(A, 1, 1, [Counted()])], {}, [uuid4()])
            appended = await connection.execute(f"select * from append_events({APPEND_PLACEHOLDERS})", arguments)
            assert await appended.fetchone() == (2, pytest.approx(2, abs=1))
            assert (await connection.execute("select from events")).rowcount == 2
            raise psycopg.Rollback(transaction)


PARTS = {
    "append": {
        "an answer to a command": "select * from record_command(gen_random_uuid(), 'done', 'null', 's', 'S', 'x', 'X', 'q', null, "
        "'{}', null, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
        "a fence": "select * from fence_command(gen_random_uuid(), gen_random_uuid(), 's', 'S', 'x', 'X', 'Y', 'q', '{}', 'null')",
        "a claim": "select * from claim_saga('s', 'r', '{}', 'me', 'why')",
        "a saga's start": "select * from append_event('saga', 's', 0, 0, gen_random_uuid(), 'SagaStarted', 1::smallint, '{}', '{}')",
        "a saga's end among others": "select * from append_events(array['counter', 'saga'], array['a', 's'], array[0, 0], "
        "array[0, 0], array[2], array[gen_random_uuid()], array['SagaCompleted'], array[1]::smallint[], array['{}']::jsonb[], "
        "array['{}']::jsonb[])",
        "several of a saga's": "select * from append_events_to_stream('saga', 's', 0, 0, array[gen_random_uuid()], array['X'], "
        "array[1]::smallint[], array['{}']::jsonb[], '{}')",
        "no appends for anybody": "select keep_inline('mine', array['Counted'])",
        "a forgotten person": "select forget_subject('ann')",
        "a checkpoint": "insert into subscriptions (name, position) values ('orders', 9999)",
        "a look at commands": "select from commands",
    },
    "participate": {
        "no appends for anybody": "select keep_inline('mine', array['Counted'])",
        "a forgotten person": "select forget_subject('ann')",
        "a checkpoint": "insert into subscriptions (name, position) values ('orders', 9999)",
    },
    "project": {
        "an event": "select * from append_event('counter', 'a', 0, 0, gen_random_uuid(), 'Counted', 1::smallint, '{}', '{}')",
        "a forgotten person": "select forget_subject('ann')",
        "a look at commands": "select from commands",
        "a key": "insert into personal_keys (key_id, subject) values (gen_random_uuid(), 'ann')",
    },
    "administrate": {
        "an event": "select * from append_event('counter', 'a', 0, 0, gen_random_uuid(), 'Counted', 1::smallint, '{}', '{}')",
        "a snapshot": "insert into snapshots values ('counter', 'a', 'f', 1, '{}')",
    },
}


@pytest.mark.parametrize(
    ("part", "cheat"),
    [
        pytest.param(part, cheat, id=f"{part}-{name}")
        for part, cheats in PARTS.items()
        for name, cheat in cheats.items()
    ],
)
async def test_a_role_for_a_part_has_no_rights_of_the_others(
    postgres: EmbeddedPostgres, database_url: str, part: str, cheat: str
) -> None:
    url = one_that_may(postgres, database_url, part)
    with (
        psycopg.connect(url, autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(cheat.encode())


@pytest.mark.parametrize("part", PARTS)
async def test_doctor_misses_no_rights_of_the_other_parts(
    postgres: EmbeddedPostgres, database_url: str, part: str
) -> None:
    url = one_that_may(postgres, database_url, part)
    assert [each.verdict async for each in diagnose(url, patience=0.1) if each.check == "role"] == ["ok"]


def one_that_may(server: EmbeddedPostgres, database_url: str, *parts: str) -> str:
    """The URL of a role that has these parts alone. Roles stay as long as the server."""
    role = "_and_".join(["may", *parts])
    with psycopg.connect(database_url, autocommit=True) as owner:
        if owner.execute("select to_regrole(%s)", (role,)).fetchone() == (None,):
            owner.execute(f"create role {role} login".encode())
            for part in parts:
                owner.execute(f"grant counteract_{part} to {role}".encode())
    return server.url_of(str(conninfo_to_dict(database_url)["dbname"]), role=role)


async def test_a_role_that_may_append_needs_no_other_for_a_stores_use(
    postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with PostgresEventStore.open(one_that_may(postgres, database_url, "append"), snapshot_every=1) as store:
        await store.append(A, [Counted(amount=2)], expect=NO_STREAM)
        assert (await store.load(counters, "a")).state == 2
        assert len(await store.read()) == 1


async def test_a_role_that_may_project_keeps_and_rebuilds_tables(postgres: EmbeddedPostgres, database_url: str) -> None:
    async with PostgresEventStore.open(one_that_may(postgres, database_url, "append")) as store:
        done = await store.append(A, [Counted(amount=2)], expect=NO_STREAM)
    url, projection = (
        one_that_may(postgres, database_url, "project"),
        Projection("names", Column("id", Text, primary_key=True)),
    )
    projection.ignores(CounterReset)
    projection.on(Counted)(lambda recorded: Put(recorded.stream.aggregate_id, {}))
    runner = ProjectionRunner(url, [projection])
    running = asyncio.create_task(runner.run())
    await runner.reached(done.position)
    await rebuild(url, projection)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


SHADOWS = {
    "a view": "create view counteract_app.events as select * from public.events where false",
    "a table": "create table counteract_app.events (like public.events)",
    "snapshots": "create table counteract_app.snapshots (like public.snapshots)",
    "a version": "create table counteract_app.counteract_version (version_num text)",
}


@pytest.mark.parametrize("shadow", SHADOWS.values(), ids=SHADOWS)
async def test_what_the_role_makes_in_its_own_schema_is_not_taken_for_the_stores(app_url: str, shadow: str) -> None:
    with psycopg.connect(app_url, autocommit=True) as application:
        application.execute("select 'events'::regclass")
        application.execute(shadow.encode())
    async with PostgresEventStore.open(app_url) as store:
        await store.append(A, [Counted(amount=2)], expect=NO_STREAM)
        assert len(await store.read()) == 1
    async with PostgresEventStore.open(app_url) as store, store.connection() as connection:
        assert (await store.load(counters, "a")).state == 2
        for table in metadata.tables:
            found = await connection.execute(f"select '{table}'::regclass = 'public.{table}'::regclass")
            assert await found.fetchone() == (True,)


@pytest.mark.parametrize("name", ["events", "commands", "personal-keys", "counteract-version"])
def test_a_projection_is_not_named_like_a_table_of_the_stores(name: str) -> None:
    with pytest.raises(ConfigurationError, match="which is the store's own"):
        Projection(name, Column("id", Text, primary_key=True))


async def test_a_projection_whose_table_would_be_hidden_by_another_is_refused(database_url: str, app_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("create table totals (id text)")
    projection = Projection("totals", Column("id", Text, primary_key=True))
    with pytest.raises(ConfigurationError, match=r"public\.totals stands before it"):
        await ProjectionRunner(app_url, [projection]).run()


async def test_every_function_of_the_owners_pins_its_path(database_url: str) -> None:
    with psycopg.connect(database_url) as owner:
        found = owner.execute(
            "select proname, proconfig, has_function_privilege('public', oid, 'execute') from pg_proc where prosecdef"
            " and pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert {name for name, *_ in found} == {
        "append_event",
        "append_events",
        "append_events_to_stream",
        "append_on_terms",
        "append_to_stream",
        "append_to_streams",
        "begin_command",
        "record_command",
        "fence_command",
        "forget_subject",
        "prune_sagas",
        "keep_inline",
        "leave_inline",
        "open_saga",
        "take_up_saga",
        "begin_step",
        "record_step",
        "fence_step",
        "late_step",
        "skip_step",
        "remember_saga",
        "end_saga",
        "claim_saga",
        "close_saga",
        "heed_ends",
        "settle_child",
    }
    assert {("search_path=public, pg_temp" in config, everybody) for _, config, everybody in found} == {(True, False)}


async def test_no_table_was_forgotten(app_url: str) -> None:
    with psycopg.connect(app_url) as application:
        for table in metadata.tables:
            application.execute(f"select from {table}")


async def test_tables_of_the_applications_own_stand_apart(app_url: str) -> None:
    with psycopg.connect(app_url) as application:
        application.execute("create table mine (id integer)")
        assert application.execute("select 'mine'::regclass::oid::regclass::text, current_schema()").fetchone() == (
            "mine",
            APP_ROLE,
        )


async def test_an_idle_transaction_is_ended_for_a_client_without_our_settings_too(app_url: str) -> None:
    with psycopg.connect(app_url) as application:
        assert application.execute("show idle_in_transaction_session_timeout").fetchone() == ("30s",)


async def test_the_application_cannot_migrate(app_url: str) -> None:
    """It would make functions of its own, which then stood before the owner's."""
    with pytest.raises(StoreError, match="migrate as the owner"):
        migrate(app_url)


async def test_rights_that_were_taken_or_given_by_hand_are_put_right(
    postgres: EmbeddedPostgres, database_url: str, app_url: str
) -> None:
    with psycopg.connect(database_url) as owner:
        owner.execute("grant all on events to counteract_app; revoke all on commands from counteract_app")
    migrate(database_url)
    with psycopg.connect(app_url) as application:
        application.execute("select from commands")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            application.execute("delete from events")


async def test_an_owner_who_is_no_superuser_can_migrate(postgres: EmbeddedPostgres) -> None:
    await execute(postgres, "create role landlord login")
    await execute(postgres, "create database rented owner landlord")
    await execute(postgres, "revoke all on database rented from public")
    try:
        url = postgres.url_of("rented", role="landlord")
        migrate(url)
        migrate(url)
        async with PostgresEventStore.open(as_application(postgres, url)) as store:
            assert await store.append(A, [Counted()], expect=NO_STREAM) == Appended(1, 1, (1,))
    finally:
        await execute(postgres, "drop database rented with (force)")
        await execute(postgres, "drop role landlord")


async def test_a_role_that_the_owner_may_not_create_is_asked_for() -> None:
    async with EmbeddedPostgres() as another:
        await execute(another, "create role landlord login")
        await execute(another, "create database rented owner landlord")
        url = another.url_of("rented", role="landlord")
        with pytest.raises(StoreError, match=r"superuser run `create role counteract_app login`.*landlord may not"):
            migrate(url)
        await execute(another, "create role counteract_app login")
        migrate(url)
