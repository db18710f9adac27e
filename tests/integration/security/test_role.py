"""What the application's role may do, and how it gets its rights."""

from __future__ import annotations

import psycopg
import pytest

from counteract.dev import EmbeddedPostgres
from counteract.dev.fixtures import as_application, execute
from counteract.errors import StoreError, WrongExpectedVersion
from counteract.store import NO_STREAM, Appended, PostgresEventStore
from counteract.store.postgres.connect import APP_ROLE
from counteract.store.postgres.migrate import check_schema, migrate
from counteract.store.postgres.schema import metadata
from tests.counters import Counted, counter, counters

pytestmark = pytest.mark.integration

A = counter("a")


async def test_the_application_appends_loads_and_reads(store: PostgresEventStore, app_url: str) -> None:
    assert await store.append(A, [Counted(amount=2)], expect=NO_STREAM) == Appended(1, 1, (1,))
    assert (await store.load(counters, "a")).state == 2
    assert [each.stream for each in await store.read()] == [A]
    with pytest.raises(WrongExpectedVersion):
        await store.append(A, [Counted()], expect=NO_STREAM)
    check_schema(app_url)


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
        "close_saga_as",
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
