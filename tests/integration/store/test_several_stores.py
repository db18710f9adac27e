"""Several stores in one database, each in a schema of its own: nothing of one is ever another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.pool import NullPool

from counteract.dev import EmbeddedPostgres
from counteract.dev.fixtures import execute
from counteract.errors import ConfigurationError, StoreError
from counteract.projections import ProjectionRunner
from counteract.projections.rebuild import rebuild
from counteract.projections.turn import turn_of
from counteract.store import ANY, PostgresEventStore
from counteract.store.archive.streams import restore_streams
from counteract.store.checks.doctor import diagnose
from counteract.store.postgres.connect import async_engine, connect
from counteract.store.postgres.migrate import check_schema, migrate
from tests.commands import counteract
from tests.counters import Counted, counter, counters
from tests.integration.store.schemas import in_schema
from tests.totals import totals

pytestmark = pytest.mark.integration

Tenants = dict[str, tuple[str, str]]
"""The owner's and the application's URL, by the tenant's name."""


@pytest.fixture
async def tenants(postgres: EmbeddedPostgres) -> AsyncIterator[Tenants]:
    """Two, of whom the second has an application URL that says nothing of its schema."""
    database = f"tenants_{uuid4().hex[:8]}"
    await execute(postgres, f"create database {database}")
    owner = postgres.url_of(database)
    found: Tenants = {}
    with psycopg.connect(owner, autocommit=True) as connection:
        for name in ("acme", "zenith"):
            connection.execute(f"create schema {name}".encode())
            await asyncio.to_thread(migrate, in_schema(owner, name), name=name)
            found[name] = (in_schema(owner, name), postgres.url_of(database, role=f"{name}_app"))
    found["acme"] = (found["acme"][0], in_schema(found["acme"][1], "acme"))
    yield found
    await execute(postgres, f"drop database {database} with (force)")


async def total(url: str) -> int:
    async with async_engine(url, poolclass=NullPool).connect() as connection:
        return int((await connection.execute(select(totals().table.c.total))).scalar_one())


async def test_each_tenant_has_its_own_events_and_projections(tenants: Tenants) -> None:
    for amount, (_, app) in enumerate(tenants.values(), start=1):
        async with PostgresEventStore.open(app) as store:
            done = await store.append(counter("a"), [Counted(amount=amount)], expect=ANY)
            assert (await store.load(counters, "a")).state == amount
        runner = ProjectionRunner(app, [totals()])
        running = asyncio.create_task(runner.run())
        await runner.reached(done.position)
        await rebuild(app, totals())
        assert await total(app) == amount
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_one_tenant_rebuilds_another_rebuilds_meanwhile(tenants: Tenants) -> None:
    (_, acme), (_, zenith) = tenants.values()
    async with PostgresEventStore.open(zenith) as store:
        await store.append(counter("a"), [Counted(amount=3)], expect=ANY)
    async with turn_of(acme, "totals"):
        await rebuild(zenith, totals())
    assert await total(zenith) == 3


async def test_what_is_inline_with_one_tenant_is_not_with_another(tenants: Tenants) -> None:
    (_, acme), (_, zenith) = tenants.values()
    async with (
        PostgresEventStore.open(acme, inline=[totals(inline=True)]) as with_totals,
        PostgresEventStore.open(zenith) as without,
    ):
        await with_totals.append(counter("a"), [Counted(amount=3)], expect=ANY)
        await without.append(counter("a"), [Counted(amount=5)], expect=ANY)
    assert await total(acme) == 3


async def test_a_tenants_role_reads_nothing_of_another(tenants: Tenants) -> None:
    with psycopg.connect(tenants["acme"][1]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select from zenith.events")


async def test_a_tenant_is_not_woken_by_another(tenants: Tenants) -> None:
    async with await connect(tenants["acme"][1]) as acme, await connect(tenants["zenith"][1]) as zenith:
        assert (acme.store.channel, zenith.store.channel) == ("acme_events", "zenith_events")


async def test_a_stream_of_one_tenant_does_not_wait_for_that_of_another(tenants: Tenants) -> None:
    (acme, _), (_, zenith) = tenants.values()
    async with await psycopg.AsyncConnection.connect(acme) as holder, PostgresEventStore.open(zenith) as store:
        await holder.execute(
            "select * from append_event('counter', 'a', 0, 0, gen_random_uuid(), 'Counted', 1::smallint, '{}', '{}')"
        )
        async with asyncio.timeout(5):
            await store.append(counter("a"), [Counted()], expect=ANY)


async def test_a_stream_that_comes_back_waits_for_the_appends_of_its_own_tenant(
    tenants: Tenants, tmp_path: Path
) -> None:
    owner, app = tenants["acme"]
    async with PostgresEventStore.open(app) as store:
        await store.append(counter("a"), [Counted()] * 2, expect=ANY)
    file = tmp_path / "old.jsonl.gz"
    done = await counteract("store", "archive", "--stream", "counter/a", "--to", str(file), "--database-url", owner)
    assert done.returncode == 0
    async with await psycopg.AsyncConnection.connect(owner) as holder:
        await holder.execute(
            "select * from append_event('counter', 'a', 0, 9, gen_random_uuid(), 'Counted', 1::smallint, '{}', '{}')"
        )
        coming = asyncio.create_task(restore_streams(owner, file))
        await asyncio.wait([coming], timeout=1)
        assert not coming.done()
        await holder.rollback()
    await coming


async def test_doctor_finds_nothing_wrong_with_either(tenants: Tenants) -> None:
    for _, app in tenants.values():
        wrong = [each async for each in diagnose(app, patience=0.1) if each.verdict == "problem"]
        assert wrong == []


async def test_migrating_again_needs_no_name_and_has_nothing_to_do(tenants: Tenants) -> None:
    for owner, _ in tenants.values():
        assert migrate(owner).changed == []
        check_schema(owner)


async def test_a_second_store_without_a_name_of_its_own_is_refused(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("create schema second")
    done = await counteract("migrate", "--database-url", in_schema(database_url, "second"))

    assert done.returncode == 1
    assert "in the schema public" in done.stderr
    assert "counteract migrate --store second" in done.stderr
    with psycopg.connect(database_url) as owner:
        assert owner.execute("select to_regclass('second.events')").fetchone() == (None,)


async def test_a_store_keeps_its_name(tenants: Tenants) -> None:
    with pytest.raises(ConfigurationError, match="its name is acme, and stays so"):
        migrate(tenants["acme"][0], name="other")


@pytest.mark.parametrize("name", ["", "Acme", "pg_acme", "a-b", "a" * 46, "acme; drop schema acme"])
async def test_what_cannot_be_part_of_other_names_is_no_name(database_url: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no name of a store"):
        migrate(database_url, name=name)


async def test_the_applications_role_of_a_tenant_cannot_migrate(tenants: Tenants) -> None:
    with pytest.raises(StoreError, match="acme_app is the application's role"):
        migrate(tenants["acme"][1])


async def test_a_path_that_leads_nowhere_is_said_to(database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="the search_path leads nowhere:\n  - no schema of it is there"):
        await asyncio.to_thread(migrate, in_schema(database_url, "nosuch"))
