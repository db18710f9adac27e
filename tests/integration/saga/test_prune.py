"""Records of sagas that are over go when nothing can ask for them any more, and no sooner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
from temporalio.client import Client

from counteract.dev import EmbeddedTemporal
from counteract.errors import ConfigurationError, StoreError
from counteract.participants.retention import Pruned, prune
from counteract.store import PostgresEventStore
from tests.commands import counteract
from tests.travel.world import World

pytestmark = pytest.mark.integration

AGE = timedelta(days=30)


@pytest.fixture(scope="module")
async def forgetful() -> AsyncIterator[EmbeddedTemporal]:
    """A server that knows none of these sagas any more, as one whose retention is over."""
    async with EmbeddedTemporal(ui=False) as server:
        yield server


@pytest.fixture
async def later(forgetful: EmbeddedTemporal) -> Client:
    return await Client.connect(forgetful.address)


async def pruned(client: Client, world: World, *, deletes: bool = True, older_than: timedelta = AGE) -> Pruned:
    *_, last = [Pruned(), *[each async for each in prune(client, world.store, older_than, deletes=deletes)]]
    return last


def made_old(database_url: str, saga_id: str, days: int = 40) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("update sagas set since = since - make_interval(days => %s) where saga_id = %s", (days, saga_id))


def on_record(database_url: str, saga_id: str) -> tuple[int, int, int]:
    """Its record, its commands, its events."""
    with psycopg.connect(database_url) as owner:
        counts = [
            owner.execute(f"select count(*) from {table} where {column} = %s".encode(), (saga_id,)).fetchone() or (0,)
            for table, column in (("sagas", "saga_id"), ("commands", "saga_id"), ("events", "aggregate_id"))
        ]
    return counts[0][0], counts[1][0], counts[2][0]


@pytest.fixture
async def ended(world: World, database_url: str, trip: str) -> str:
    """A saga that ended long ago, which the server still has."""
    await world.outing(trip)
    made_old(database_url, trip)
    return trip


async def test_what_ended_long_ago_and_is_gone_from_the_server_leaves_with_its_commands(
    later: Client, world: World, database_url: str, ended: str
) -> None:
    (record, commands, events) = on_record(database_url, ended)
    assert (record, events) == (1, 2)

    assert await pruned(later, world, deletes=False) == Pruned(sagas=1, commands=commands)
    assert on_record(database_url, ended) == (1, commands, 2)

    assert await pruned(later, world) == Pruned(sagas=1, commands=commands)
    assert on_record(database_url, ended) == (0, 0, 2)
    assert await pruned(later, world) == Pruned()


async def test_what_the_server_still_has_could_be_reset_and_stays(world: World, database_url: str, ended: str) -> None:
    assert await pruned(world.client, world) == Pruned(known=1)
    assert on_record(database_url, ended)[0] == 1


async def test_what_ended_lately_stays(later: Client, world: World, database_url: str, trip: str) -> None:
    await world.outing(trip)
    made_old(database_url, trip, days=29)
    assert await pruned(later, world) == Pruned()
    assert on_record(database_url, trip)[0] == 1


async def test_what_has_not_ended_stays(later: Client, world: World, database_url: str, ended: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("update sagas set state = 'turning back'")
    assert await pruned(later, world) == Pruned()
    assert on_record(database_url, ended)[0] == 1


async def test_an_effect_that_came_late_keeps_its_saga(
    later: Client, world: World, database_url: str, ended: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(
            "update commands set late_since = now() where command_id = (select command_id from commands limit 1)"
        )
    assert await pruned(later, world) == Pruned(late=1)
    assert on_record(database_url, ended)[0] == 1


async def test_a_saga_of_another_namespace_is_none_of_this_servers(
    later: Client, world: World, database_url: str, ended: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("update sagas set namespace = 'another'")
    assert await pruned(later, world) == Pruned()
    assert on_record(database_url, ended)[0] == 1


_CHILD = """
    insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, since, parent_saga_id, parent_run_id)
    select 'a-child', 'a0000000-0000-0000-0000-000000000000', namespace, saga_type, %s, 1, 'r', since, saga_id, run_id from sagas
"""


async def test_a_parent_stays_as_long_as_a_child_goes_on(
    later: Client, world: World, database_url: str, ended: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(_CHILD, ("forward",))
    assert await pruned(later, world) == Pruned(family=1)
    assert on_record(database_url, ended)[0] == 1


async def test_a_child_goes_after_its_parent_and_not_before(
    later: Client, world: World, database_url: str, ended: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(_CHILD, ("completed",))
    assert await pruned(world.client, world) == Pruned(known=1, family=1)
    done = await pruned(later, world)
    assert (done.sagas, done.family) == (2, 0)
    assert on_record(database_url, "a-child")[0] == 0


_BEFORE = """
    insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, since)
    select saga_id, 'b0000000-0000-0000-0000-000000000000', namespace, saga_type, state, 1, 'b', since from sagas
"""


async def test_an_id_that_is_in_use_again_does_not_keep_the_saga_before(
    world: World, database_url: str, ended: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(_BEFORE)
    assert await pruned(world.client, world) == Pruned(sagas=1, known=1)
    assert on_record(database_url, ended)[0] == 1


async def test_a_run_that_is_on_record_as_no_other_saga_keeps_all_of_its_id(
    world: World, database_url: str, ended: str
) -> None:
    """It may be one of this saga, which a reset or a new beginning made."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("update sagas set run_id = 'b0000000-0000-0000-0000-000000000000'")
    assert await pruned(world.client, world) == Pruned(known=1)


async def test_no_age_below_the_servers_retention_is_taken(later: Client, world: World) -> None:
    with pytest.raises(ConfigurationError, match="1 days are too few: the server keeps workflows for 1"):
        await pruned(later, world, older_than=timedelta(days=1))


async def test_the_database_itself_refuses_a_saga_of_today(app_url: str) -> None:
    async with PostgresEventStore.open(app_url) as store:
        with pytest.raises(StoreError, match="may still have messages under way"):
            async with store.connection() as connection:
                await connection.execute("select prune_sagas(array['s'], array['r'], interval '1 hour')")


@pytest.mark.program
async def test_the_command_says_what_it_would_delete_and_deletes_when_told_to(
    temporal: EmbeddedTemporal, forgetful: EmbeddedTemporal, database_url: str, app_url: str, ended: str
) -> None:
    arguments = ("sagas", "prune", "--older-than", "30", "--database-url", app_url, "--address")
    told = await counteract(*arguments, temporal.address)
    assert told.stdout == ("to delete with --yes: 0 sagas with 0 commands\nkept: 1 which the server still has\n")
    commands = on_record(database_url, ended)[1]
    assert (
        await counteract(*arguments, forgetful.address)
    ).stdout == f"to delete with --yes: 1 sagas with {commands} commands\n"
    assert (
        await counteract(*arguments, forgetful.address, "--yes")
    ).stdout == f"deleted: 1 sagas with {commands} commands\n"
    refused = await counteract(*arguments[:3], "1", *arguments[4:], forgetful.address)
    assert refused.returncode == 1
    assert "1 days are too few" in refused.stderr
