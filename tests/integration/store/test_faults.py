"""Faults of a real server: each has its own advice, and what was acknowledged is there afterwards, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict

from counteract.dev.fixtures import as_application, execute
from counteract.dev.postgres import EmbeddedPostgres
from counteract.errors import (
    ConfigurationError,
    InvalidEvent,
    SchemaOutdated,
    StoreReadOnly,
    StoreUnavailable,
)
from counteract.store import ANY, NO_STREAM, Appended, Decided, PostgresEventStore, decide
from counteract.store.expect import StreamChange
from counteract.store.postgres import readiness
from counteract.store.postgres.append import APPEND_PLACEHOLDERS, append_arguments
from counteract.store.postgres.connect import sync_engine
from counteract.store.postgres.migrate import migrate
from counteract.store.postgres.readiness import REVISIONS
from tests.connection_cuts import MARK, Cut, Relay
from tests.counters import Counted, counter, counters
from tests.integration.projections.inline_totals import totals
from tests.small_disk import SmallDisk, fetch, incompressible

pytestmark = pytest.mark.integration

MIGRATIONS = Path(readiness.__file__).parent / "migrations"

A, B = counter("a"), counter("b")


@pytest.fixture
async def relay(app_url: str, tmp_path: Path) -> AsyncIterator[tuple[Relay, str]]:
    async with Relay.before(app_url, tmp_path) as both:
        yield both


@pytest.mark.parametrize(
    ("cut", "takes_effect"),
    [(Cut.BEFORE, 0), (Cut.HALFWAY, 0), (Cut.UNCOMMITTED, 0), (Cut.AFTER, 1)],
    ids=lambda value: getattr(value, "name", "").lower(),
)
async def test_an_append_whose_connection_is_lost_is_repeated_safely(
    relay: tuple[Relay, str], event_store: PostgresEventStore, cut: Cut, takes_effect: int
) -> None:
    cutting, url = relay
    async with PostgresEventStore.open(url) as store:
        ids = [uuid4()]
        await store.append(A, [Counted()], expect=NO_STREAM)
        cutting.cut_at = cut
        with pytest.raises(StoreUnavailable, match=r"connection was lost.*repeat it with the same event ids"):
            await store.append(B, [Counted(note=MARK)], expect=NO_STREAM, event_ids=ids)
        assert len(await event_store.read_stream(B)) == takes_effect
        assert (await store.append(B, [Counted(note=MARK)], expect=NO_STREAM, event_ids=ids)).version == 1
    assert [each.event_id for each in await event_store.read_stream(B)] == ids


async def test_a_repeat_meets_its_own_first_attempt_still_under_way(
    relay: tuple[Relay, str], event_store: PostgresEventStore
) -> None:
    """The server does not notice that the client is gone: the first attempt goes on, and commits while the second waits."""
    cutting, url = relay
    ids = [uuid4()]
    async with PostgresEventStore.open(url) as store:
        async with event_store.connection() as other, other.transaction():
            await other.execute(*append_call(StreamChange(A, 0, 0)))
            cutting.cut_at = Cut.AWAY
            with pytest.raises(StoreUnavailable, match="connection was lost"):
                await store.append(A, [Counted(note=MARK)], expect=NO_STREAM, event_ids=ids)
            again = asyncio.create_task(store.append(A, [Counted(note=MARK)], expect=NO_STREAM, event_ids=ids))
            await sessions_wait(event_store, 2)
        assert (await again).version == 1
    assert [each.event_id for each in await event_store.read()] == ids


async def test_a_decision_meets_its_own_first_append_still_under_way(
    relay: tuple[Relay, str], event_store: PostgresEventStore
) -> None:
    cutting, url = relay
    async with PostgresEventStore.open(url) as store:
        await store.append(A, [Counted(amount=10)], expect=NO_STREAM)
        async with event_store.connection() as other, other.transaction():
            await other.execute(*append_call(StreamChange(A, 1, 1)))
            cutting.cut_at = Cut.AWAY
            deciding = asyncio.create_task(decide(store, counters, "a", lambda _: [Counted(amount=5, note=MARK)]))
            await sessions_wait(event_store, 2)
        decided: Decided[int] = await deciding
    assert (decided.state, decided.version) == (15, 2)
    assert (await event_store.load(counters, "a")).state == 15


async def test_a_lost_connection_says_so_while_reading(relay: tuple[Relay, str]) -> None:
    cutting, url = relay
    async with PostgresEventStore.open(url) as store:
        await store.append(counter(MARK), [Counted(amount=3)], expect=NO_STREAM)
        cutting.cut_at = Cut.AFTER
        with pytest.raises(StoreUnavailable, match="connection was lost"):
            await store.read_stream(counter(MARK))
        assert len(await store.read_stream(counter(MARK))) == 1


async def test_a_server_that_cannot_be_reached_any_more_is_named_as_such(app_url: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as standing:
        _, url = await standing.enter_async_context(Relay.before(app_url, tmp_path))
        async with PostgresEventStore.open(url, pool_timeout=0.3) as store:
            await store.append(A, [Counted()], expect=ANY)
            await standing.aclose()
            with pytest.raises(StoreUnavailable, match="connection was lost"):
                await store.append(A, [Counted()], expect=ANY)
            with pytest.raises(StoreUnavailable, match=r"cannot be reached: connection .*; retry"):
                await store.append(A, [Counted()], expect=ANY)


@pytest.mark.parametrize(
    ("database", "role", "why"),
    [
        ("nowhere", "postgres", 'database "nowhere" does not exist'),
        ("postgres", "nobody", 'role "nobody" does not exist'),
    ],
)
async def test_a_store_that_cannot_be_opened_gives_the_servers_reason(
    postgres: EmbeddedPostgres, database: str, role: str, why: str
) -> None:
    with pytest.raises(StoreUnavailable, match=f"{why}.*correct its URL"):
        async with PostgresEventStore.open(postgres.url_of(database, role=role), pool_timeout=0.3):
            pass


async def test_a_database_that_takes_no_writes_has_its_own_advice_and_is_written_to_once_it_does(
    postgres: EmbeddedPostgres, database_url: str, app_url: str
) -> None:
    name = conninfo_to_dict(database_url)["dbname"]
    await execute(postgres, f"alter database {name} set default_transaction_read_only = on")
    async with PostgresEventStore.open(app_url) as store:
        await execute(postgres, f"alter database {name} set default_transaction_read_only = off")
        # Sessions keep what they began with, as those to an old primary do, unless the error has them replaced.
        with pytest.raises(StoreReadOnly, match=r"takes no writes.*primary server.*target_session_attrs.*; retry"):
            await store.append(A, [Counted()], expect=ANY)
        assert await store.append(A, [Counted()], expect=NO_STREAM) == Appended(1, 1, (1,))


async def test_appends_with_inline_projections_are_taken_again_too_once_the_database_takes_writes(
    postgres: EmbeddedPostgres, database_url: str, app_url: str
) -> None:
    name = conninfo_to_dict(database_url)["dbname"]

    async def count(number: int) -> Appended:
        return await store.append(counter(f"at once {number}"), [Counted()], expect=ANY)

    async with PostgresEventStore.open(app_url, inline=[totals()]) as store:
        await execute(postgres, f"alter database {name} set default_transaction_read_only = on")
        await execute(postgres, f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")
        # The sessions that were ended, and then those in their places, several at once.
        await asyncio.gather(*map(count, range(3)), return_exceptions=True)
        refused = await asyncio.gather(*map(count, range(3)), return_exceptions=True)
        assert [type(each) for each in refused] == [StoreReadOnly] * 3
        await execute(postgres, f"alter database {name} set default_transaction_read_only = off")
        assert [(await count(number)).version for number in range(3)] == [1, 1, 1]


async def test_a_standby_is_read_from_and_refuses_appends_until_it_is_promoted(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as server:
        await asyncio.to_thread(migrate, server.url)
        async with PostgresEventStore.open(server.app_url) as store:
            await store.append(A, [Counted(amount=2)], expect=NO_STREAM)
        folder = Path(await fetch(server.url, "show data_directory"))
        await server.stop()
        (folder / "standby.signal").touch()
        await server.start()
        async with PostgresEventStore.open(server.app_url) as store:
            assert (await store.load(counters, "a")).state == 2
            with pytest.raises(StoreReadOnly, match=r"server is a standby: .*takes no writes.*primary server"):
                await store.append(A, [Counted()], expect=ANY)
            with pytest.raises(StoreReadOnly, match=r"server is a standby.*read the log from the primary server"):
                await store.read()
            await fetch(server.url, "select pg_promote()")
            assert (await store.append(A, [Counted()], expect=ANY)).version == 2


async def test_a_time_limit_of_the_role_for_whole_transactions_cuts_nothing_off(
    postgres: EmbeddedPostgres, database_url: str, app_url: str
) -> None:
    if int(postgres.version.split(".")[0]) < 17:
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    name = conninfo_to_dict(database_url)["dbname"]
    await execute(postgres, f"alter role counteract_app in database {name} set transaction_timeout = '900ms'")
    async with PostgresEventStore.open(app_url) as store, store.connection() as connection:
        row = await (await connection.execute("select current_setting('transaction_timeout')")).fetchone()
        assert row == ("0",)


async def test_a_full_disk_refuses_what_it_cannot_hold_and_keeps_what_it_acknowledged(
    postgres: EmbeddedPostgres, small_disk: SmallDisk
) -> None:
    url = postgres.url_of("crowded")
    events = {uuid4(): Counted(note=incompressible(500_000)) for _ in range(99)}
    acknowledged: list[str] = []
    async with PostgresEventStore.open(as_application(postgres, url)) as store:

        async def fill() -> None:
            for event_id, event in events.items():
                await store.append(A, [event], expect=ANY, event_ids=[event_id])
                acknowledged.append(str(event_id))

        with pytest.raises(StoreUnavailable, match=r"disk is full, nothing was written.*retry"):
            await fill()
        stored = "select string_agg(event_id::text, ' ' order by position) from events"
        assert (await fetch(url, stored)).split() == acknowledged != []
        small_disk.grow()
        refused = list(events)[len(acknowledged)]
        await store.append(A, [events[refused]], expect=ANY, event_ids=[refused])
        assert (await fetch(url, stored)).split() == [*acknowledged, str(refused)]
        assert [Counted.model_validate_json(each.data) for each in await store.read_stream(A)] == list(events.values())[
            : len(acknowledged) + 1
        ]


async def test_an_exhausted_pool_says_how_large_it_is_and_how_long_it_was_waited_for(app_url: str) -> None:
    async with PostgresEventStore.open(app_url, pool_size=2, pool_timeout=0.2) as store:
        async with store.connection(), store.connection():
            with pytest.raises(
                StoreUnavailable, match=r"all 2 connections .* for 0\.2 seconds, and nothing was sent.*larger pool_size"
            ):
                await store.append(A, [Counted()], expect=NO_STREAM)
        assert (await store.append(A, [Counted()], expect=NO_STREAM)).version == 1


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("statement_timeout", "longer than the server lets a statement run"),
        ("lock_timeout", "lock was not free in time"),
    ],
)
async def test_an_append_that_waits_for_too_long_appends_nothing_and_can_be_repeated(
    event_store: PostgresEventStore, app_url: str, setting: str, why: str
) -> None:
    ids = [uuid4()]
    async with PostgresEventStore.open(app_url, pool_size=1) as store:
        async with store.connection() as connection:
            await connection.execute(f"set {setting} = '50ms'")
        async with event_store.connection() as other, other.transaction():
            await other.execute(*append_call(StreamChange(A, 0, 0)))
            with pytest.raises(StoreUnavailable, match=f"{why}.*retry"):
                await store.append(A, [Counted()], expect=NO_STREAM, event_ids=ids)
        assert await store.read() == []
        assert (await store.append(A, [Counted()], expect=NO_STREAM, event_ids=ids)).version == 1


async def test_an_unmigrated_database_is_refused_at_open_with_all_that_is_missing(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(SchemaOutdated, match=rf"lacks {', '.join(REVISIONS)}: run `counteract migrate`"):
        async with PostgresEventStore.open(postgres.url_of("postgres")):
            pass


async def test_a_database_that_lacks_a_migration_is_refused_at_open_by_its_name(database_url: str) -> None:
    await go_back(database_url)
    with pytest.raises(SchemaOutdated, match=rf"the database lacks {REVISIONS[-1]}: run `counteract migrate`"):
        async with PostgresEventStore.open(database_url):
            pass


async def test_an_append_names_the_migration_that_is_missing(database_url: str, app_url: str) -> None:
    async with PostgresEventStore.open(app_url) as store:
        await go_back(database_url)
        with pytest.raises(SchemaOutdated, match=rf"the database lacks {REVISIONS[-1]}: run `counteract migrate`"):
            await store.append(A, [Counted()], expect=ANY)
        await asyncio.to_thread(migrate, database_url)
        assert (await store.append(A, [Counted()], expect=ANY)).version == 1


async def test_a_function_that_is_missing_is_named_too(database_url: str, app_url: str) -> None:
    async with PostgresEventStore.open(app_url) as store:
        await fetch(database_url, "drop function append_event")
        with pytest.raises(SchemaOutdated, match="lacks function append_event"):
            await store.append(A, [Counted()], expect=ANY)


async def test_a_table_that_is_no_migrations_is_not_looked_for_among_them(event_store: PostgresEventStore) -> None:
    with pytest.raises(SchemaOutdated, match=r'no migration .* is missing, but relation "orders" does not exist'):
        async with event_store.connection() as connection:
            await connection.execute("select from orders")


@pytest.fixture
async def latin_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    await execute(postgres, "create database latin encoding 'LATIN1' locale 'C' template template0")
    yield postgres.url_of("latin")
    await execute(postgres, "drop database latin with (force)")


async def test_a_database_in_another_encoding_is_refused_at_open(latin_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"its encoding is LATIN1: create one with `encoding 'UTF8'"):
        async with PostgresEventStore.open(latin_url):
            pass


async def test_a_database_in_another_encoding_is_not_migrated(latin_url: str) -> None:
    with pytest.raises(ConfigurationError, match="its encoding is LATIN1"):
        await asyncio.to_thread(migrate, latin_url)
    assert await fetch(latin_url, "select count(*) from pg_tables where schemaname = 'public'") == "0"


async def test_the_encoding_of_the_clients_environment_changes_nothing(
    app_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    async with PostgresEventStore.open(app_url) as store:
        await store.append(A, [Counted(note="\u20ac\U0001f600")], expect=ANY)
        assert (await store.read())[0].data == '{"note": "\u20ac\U0001f600", "amount": 1}'


def test_revisions_are_known_by_the_names_of_their_files() -> None:
    """Alembic, which knows them better, is not loaded where a store is opened."""
    revisions = ScriptDirectory(MIGRATIONS).walk_revisions()
    assert tuple(each.revision for each in revisions)[::-1] == REVISIONS


async def test_an_event_of_five_megabytes_is_refused_with_advice_and_taken_where_the_limit_is_raised(
    event_store: PostgresEventStore, app_url: str
) -> None:
    event = Counted(note=incompressible(5_000_000))
    with pytest.raises(
        InvalidEvent, match=r"Counted v1 has 5000\d+ bytes, more than 1048576: .* or raise max_event_bytes"
    ):
        await event_store.append(A, [event], expect=ANY)
    async with PostgresEventStore.open(app_url, max_event_bytes=6_000_000) as store:
        await store.append(A, [event], expect=NO_STREAM)
        assert Counted.model_validate_json((await store.read())[0].data) == event


async def test_what_only_the_server_finds_too_large_is_an_invalid_event_too(event_store: PostgresEventStore) -> None:
    with pytest.raises(InvalidEvent, match="beyond a limit of PostgreSQL: stack depth"):
        async with event_store.connection() as connection:
            await connection.execute("select repeat('[', 100000)::jsonb")


def append_call(*changes: StreamChange) -> tuple[str, tuple[object, ...]]:
    return f"select append_events({APPEND_PLACEHOLDERS})", append_arguments(changes, {})


async def go_back(url: str) -> None:
    """To a database that the last migration was not applied to, as after somebody has restored an old copy."""

    def migrate_to_the_last_but_one() -> None:
        # Each step by itself: a migration may have statements outside of a transaction.
        with sync_engine(url).connect() as connection:
            connection.exec_driver_sql("drop schema public cascade; create schema public")
            connection.commit()
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(MIGRATIONS))
            command.upgrade(config, REVISIONS[-2])
            connection.exec_driver_sql("grant usage on schema public to public")
            connection.exec_driver_sql("grant select on all tables in schema public to public")
            connection.commit()

    await asyncio.to_thread(migrate_to_the_last_but_one)


async def sessions_wait(store: PostgresEventStore, number: int) -> None:
    """Returns once so many sessions wait for an advisory lock."""
    query = "select from pg_locks where locktype = 'advisory' and not granted"
    async with asyncio.timeout(10), store.connection() as connection:
        while (await connection.execute(query)).rowcount < number:  # noqa: ASYNC110 - it happens in the database
            await asyncio.sleep(0.005)
