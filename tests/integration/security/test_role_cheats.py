"""Every way that we know to cheat with the application's role, or the owner's."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Column, Text

from counteract.dev import EmbeddedPostgres
from counteract.errors import ConfigurationError, StoreError
from counteract.projections import Projection, ProjectionRunner
from counteract.store import ANY, NO_STREAM, PostgresEventStore
from counteract.store.expect import StreamChange
from counteract.store.postgres.append import APPEND_PLACEHOLDERS, append_arguments
from counteract.store.postgres.schema import metadata
from tests.counters import Counted, counter, counters
from tests.writers import skip_without_merge

pytestmark = pytest.mark.integration

A = counter("a")


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
