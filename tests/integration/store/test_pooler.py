"""PgBouncer in transaction mode: right for whoever appends, loads, reads or carries out commands, and a clear word for all others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import select
from sqlalchemy.pool import NullPool

from counteract.dev import EmbeddedPostgres
from counteract.dev.fixtures import execute
from counteract.errors import ConfigurationError, StoreUnavailable, WrongExpectedVersion
from counteract.projections import ProjectionRunner, reached
from counteract.projections.rebuild import rebuild
from counteract.store import ANY, NO_STREAM, PostgresEventStore, decide
from counteract.store.archive.streams import Named, archive_streams
from counteract.store.checks.doctor import diagnose
from counteract.store.checks.finding import Verdict
from counteract.store.postgres.connect import Connection, async_engine, connect
from counteract.store.postgres.connection import settings_of
from counteract.store.postgres.migrate import check_schema, migrate
from counteract.store.transfer.bulk_import import import_events
from tests import pgbouncer
from tests.commands import counteract
from tests.counters import Counted, counter, counters
from tests.integration.participants.desk import Desk
from tests.integration.store.schemas import in_schema
from tests.pgbouncer import SESSIONS, Bouncer
from tests.totals import totals
from tests.travel.bank import CardCompany, Deposited, HoldMoney, accounts

pytestmark = pytest.mark.integration

_SHOWN = "select current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('transaction_isolation')"


@pytest.fixture(scope="module")
async def pooler(postgres: EmbeddedPostgres) -> AsyncIterator[Bouncer]:
    async with pgbouncer.running(postgres) as running:
        yield running


@pytest.fixture
def pooled_url(pooler: Bouncer, app_url: str) -> str:
    return pooler.through(app_url)


async def total(url: str) -> int:
    async with async_engine(url, poolclass=NullPool).connect() as connection:
        return int((await connection.execute(select(totals().table.c.total))).scalar_one())


async def test_many_clients_decide_over_a_few_sessions(pooled_url: str) -> None:
    async with PostgresEventStore.open(pooled_url, pool_size=10) as store:
        decisions = [
            decide(store, counters, str(n % 4), lambda _: [Counted(amount=1)], attempts=100) for n in range(80)
        ]
        await asyncio.gather(*decisions)
        assert [(await store.load(counters, str(n))).state for n in range(4)] == [20] * 4
        assert len(await store.read()) == 80


async def test_a_refused_append_leaves_nothing_open_behind(pooled_url: str) -> None:
    async with PostgresEventStore.open(pooled_url, pool_size=1) as store:
        await store.append(counter("a"), [Counted()], expect=NO_STREAM)
        for _ in range(2 * SESSIONS):
            with pytest.raises(WrongExpectedVersion, match="counter/a is at version 1, expected no stream"):
                await store.append(counter("a"), [Counted()], expect=NO_STREAM)
        await store.append(counter("a"), [Counted()], expect=ANY)
        assert (await store.load(counters, "a")).version == 2


async def test_a_connection_goes_on_after_a_statement_that_failed(pooled_url: str) -> None:
    async with await connect(pooled_url) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await connection.execute("select 1 / 0")
        with pytest.raises(psycopg.errors.DivisionByZero):
            await _in_a_pipeline(connection, "select 1 / 0", "select 1")
        assert await (await connection.execute("select 1")).fetchone() == (1,)


async def _in_a_pipeline(connection: Connection, *statements: str) -> None:
    async with connection.pipeline():
        for statement in statements:
            await connection.execute(statement)


async def test_what_the_role_makes_in_its_own_schema_is_not_taken_for_the_stores(pooled_url: str, app_url: str) -> None:
    with psycopg.connect(app_url, autocommit=True) as application:
        application.execute("create view counteract_app.events as select * from public.events where false")
    async with PostgresEventStore.open(pooled_url) as store:
        await store.append(counter("a"), [Counted(amount=2)], expect=NO_STREAM)
        assert len(await store.read()) == 1


async def test_a_command_and_its_undo_happen_once(pooled_url: str) -> None:
    async with PostgresEventStore.open(pooled_url) as store:
        await store.append(accounts.stream("ann"), [Deposited(amount=1000)], expect=ANY)
        desk = Desk(store, CardCompany())
        holds = {uuid4(): HoldMoney(account="ann", trip=f"rome-{n}", amount=60) for n in range(6)}
        await asyncio.gather(*(desk.send(hold, each) for each, hold in holds.items() for _ in range(3)))
        assert sorted((await desk.account()).held.values()) == [60] * 6
        await asyncio.gather(*(desk.undo(hold, each) for each, hold in holds.items() for _ in range(3)))
        assert (await desk.account()).held == {}


async def test_each_transaction_has_our_settings_whichever_session_it_gets(
    pooled_url: str, postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with PostgresEventStore.open(pooled_url, pool_size=6) as store:
        seen: Counter[tuple[object, ...]] = Counter()

        async def look() -> None:
            async with store.connection() as connection, connection.transaction():
                seen[await (await connection.execute(_SHOWN)).fetchone() or ()] += 1
                await connection.execute("select pg_sleep(0.05)")

        await asyncio.gather(*(look() for _ in range(12)))
    assert seen == {("30s", "10s", "read committed"): 12}


async def test_no_session_keeps_what_others_would_take_over(pooled_url: str) -> None:
    async with PostgresEventStore.open(pooled_url) as store:
        await asyncio.gather(*(store.append(counter(str(n)), [Counted()], expect=ANY) for n in range(20)))
        await asyncio.gather(*(store.load(counters, str(n)) for n in range(20)))
    others = [
        await psycopg.AsyncConnection.connect(pooled_url, prepare_threshold=None, options=None) for _ in range(SESSIONS)
    ]
    for other in others:
        # Each keeps its session, so that all of them are seen.
        row = await (await other.execute(_SHOWN.replace("transaction_", "default_transaction_"))).fetchone()
        assert row == ("0", "0", "read committed")
        prepared = await other.execute("select count(*), current_setting('search_path') from pg_prepared_statements")
        assert await prepared.fetchone() == (0, '"$user", public')
    for other in others:
        await other.close()


async def test_a_role_that_is_serializable_by_default_is_not_here(
    postgres: EmbeddedPostgres, pooler: Bouncer, app_url: str
) -> None:
    """A check in such a transaction would not see who was faster."""
    pooled = pooler.through(app_url)
    name = conninfo_to_dict(app_url)["dbname"]
    await execute(
        postgres, f"alter role counteract_app in database {name} set default_transaction_isolation = 'serializable'"
    )
    async with PostgresEventStore.open(pooled) as store, store.connection() as connection:
        assert await (await connection.execute(_SHOWN)).fetchone() == ("30s", "10s", "read committed")


@pytest.mark.parametrize("more", ["", "ignore_startup_parameters = options"], ids=["refused", "ignored"])
async def test_the_schema_that_the_url_names_is_found(postgres: EmbeddedPostgres, more: str) -> None:
    """PgBouncer refuses the parameter that says so, or throws it away."""
    database = f"tenants_{uuid4().hex[:8]}"
    await execute(postgres, f"create database {database}")
    owner = postgres.url_of(database)
    with psycopg.connect(owner, autocommit=True) as connection:
        for name in ("acme", "zenith"):
            connection.execute(f"create schema {name}".encode())
            await asyncio.to_thread(migrate, in_schema(owner, name), name=name)
    async with pgbouncer.running(postgres, "acme_app", "zenith_app", more=more) as pooler:
        for name in ("acme", "zenith"):
            url = pooler.through(in_schema(postgres.url_of(database, role=f"{name}_app"), name))
            check_schema(url)
            async with PostgresEventStore.open(url) as store:
                await store.append(counter(name), [Counted()], expect=NO_STREAM)
                assert [each.aggregate_id for each in await store.read()] == [name]
    await execute(postgres, f"drop database {database} with (force)")


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("-csearch_path=a", {"search_path": "a"}),
        ("-c search_path=a,b --lock-timeout=1s", {"search_path": "a,b", "lock_timeout": "1s"}),
        (r"-c search_path=a,\ b", {"search_path": "a, b"}),
        ("", {}),
    ],
)
def test_options_are_read_as_the_server_reads_them(options: str, settings: dict[str, str]) -> None:
    assert settings_of(options) == settings


def test_options_that_are_no_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="can only be settings behind a pooler"):
        settings_of("-B 100")


async def test_projections_over_a_direct_url_are_told_of_appends_through_the_pooler(
    pooled_url: str, app_url: str
) -> None:
    running = asyncio.create_task(ProjectionRunner(app_url, [totals()]).run())
    async with PostgresEventStore.open(pooled_url) as store, await connect(app_url) as listening:
        await listening.execute(f"listen {listening.store.channel}")
        done = await store.append(counter("a"), [Counted(amount=3)], expect=ANY)
        assert [each.channel async for each in listening.notifies(timeout=20, stop_after=1)] == ["counteract_events"]
        await reached(store, "totals", done.position, timeout=20)
    assert await total(pooled_url) == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_inline_projections_are_kept_through_the_pooler(pooled_url: str, app_url: str) -> None:
    await rebuild(app_url, totals(inline=True))
    async with PostgresEventStore.open(pooled_url, pool_size=6, inline=[totals(inline=True)]) as store:
        await asyncio.gather(*(store.append(counter(str(n)), [Counted(amount=2)], expect=ANY) for n in range(30)))
        with pytest.raises(WrongExpectedVersion):
            await store.append(counter("0"), [Counted(amount=2)], expect=NO_STREAM)
    assert await total(app_url) == 60


async def test_a_server_that_restarts_behind_the_pooler_is_found_again() -> None:
    async with EmbeddedPostgres() as server:
        await asyncio.to_thread(migrate, server.url)
        async with (
            pgbouncer.running(server, more="server_login_retry = 0.1") as pooler,
            PostgresEventStore.open(pooler.through(server.app_url)) as store,
        ):
            await store.append(counter("a"), [Counted()], expect=ANY)
            await server.kill()
            await server.start()
            for _ in range(100):
                try:
                    await store.append(counter("a"), [Counted()], expect=ANY)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.1)
            assert (await store.load(counters, "a")).version == 2


async def test_what_needs_a_session_of_its_own_says_so(pooler: Bouncer, pooled_url: str, database_url: str) -> None:
    owner = pooler.through(database_url)
    for refused in (
        ProjectionRunner(pooled_url, [totals()]).run(),
        rebuild(pooled_url, totals()),
        import_events(owner, []),
        archive_streams(owner, Named([counter("a")]), Path("archive")),
        asyncio.to_thread(migrate, owner),
        asyncio.to_thread(migrate, in_schema(owner, "public")),
    ):
        with pytest.raises(ConfigurationError, match="leads to a pooler, such as PgBouncer"):
            await asyncio.wait_for(refused, 20)


async def test_doctor_tells_what_the_pooler_is_good_for(pooled_url: str) -> None:
    found = {each.check: each async for each in diagnose(pooled_url, patience=0.2)}
    assert found["connection"].verdict is Verdict.ADVICE
    assert "through a pooler: right for whoever appends" in found["connection"].what
    assert {each.verdict for name, each in found.items() if name != "connection"} == {Verdict.OK}


async def test_following_the_log_through_a_pooler_is_refused_in_a_sentence(pooled_url: str) -> None:
    told = await counteract("events", "tail", "--follow", "--database-url", pooled_url)
    assert told.returncode == 1
    assert "leads to a pooler" in told.stderr
    assert "Traceback" not in told.stderr
