"""A role for each part of an application: with its rights, and none of the others'."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Column, Text

from counteract.dev import EmbeddedPostgres
from counteract.projections import Projection, ProjectionRunner, Put
from counteract.projections.rebuild import rebuild
from counteract.store import NO_STREAM, PostgresEventStore
from counteract.store.checks.doctor import diagnose
from tests.counters import Counted, CounterReset, counter, counters

pytestmark = pytest.mark.integration

A = counter("a")


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
        "a saga forgotten": "select prune_sagas(array['s'], array['r'], interval '9 days')",
    },
    "participate": {
        "a saga forgotten": "select prune_sagas(array['s'], array['r'], interval '9 days')",
        "no appends for anybody": "select keep_inline('mine', array['Counted'])",
        "a forgotten person": "select forget_subject('ann')",
        "a checkpoint": "insert into subscriptions (name, position) values ('orders', 9999)",
    },
    "project": {
        "an event": "select * from append_event('counter', 'a', 0, 0, gen_random_uuid(), 'Counted', 1::smallint, '{}', '{}')",
        "a forgotten person": "select forget_subject('ann')",
        "a look at commands": "select from commands",
        "a key": "insert into personal_keys (key_id, subject) values (gen_random_uuid(), 'ann')",
        "a snapshot": "insert into snapshots (aggregate_type, aggregate_id, fingerprint, version, state) values ('c', 'a', 'f', 1, '{}')",
        "a saga forgotten": "select prune_sagas(array['s'], array['r'], interval '9 days')",
    },
    "administrate": {
        "an event": "select * from append_event('counter', 'a', 0, 0, gen_random_uuid(), 'Counted', 1::smallint, '{}', '{}')",
        "a snapshot": "insert into snapshots (aggregate_type, aggregate_id, fingerprint, version, state) values ('c', 'a', 'f', 1, '{}')",
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
