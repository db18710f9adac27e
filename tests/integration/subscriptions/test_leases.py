"""Shards of a subscription belong to one process at a time, whatever becomes of the processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from counteract.dev.process import GuardedProcess, Launch
from counteract.errors import ConfigurationError
from counteract.store import ANY, PostgresEventStore, StoredEvent
from counteract.store.postgres.connect import connect
from counteract.subscriptions import Subscription, reached
from counteract.subscriptions.lease import Lease
from counteract.subscriptions.membership import Membership
from counteract.subscriptions.shard_count import resharded, set_up
from tests.counters import Counted, counter
from tests.integration.subscriptions.diary import Diary

pytestmark = [pytest.mark.integration, pytest.mark.readside]

PATIENCE = 20.0
NEVER = 600.0


async def write(store: PostgresEventStore, events: int, *, streams: int = 20) -> int:
    """The last position."""
    appended = [await store.append(counter(str(each % streams)), [Counted()], expect=ANY) for each in range(events)]
    return appended[-1].position


async def diary(store: PostgresEventStore, what: str) -> list[tuple[object, ...]]:
    async with store.connection() as connection:
        return await (await connection.execute(f"select {what} from diary order by line")).fetchall()


async def all_is_there_once_and_in_order(store: PostgresEventStore) -> None:
    lines = await diary(store, "position, stream, version")
    assert sorted(position for position, *_ in lines) == [each.position for each in await store.read(limit=10**6)]  # type: ignore[type-var]
    versions = defaultdict(list)
    for _, stream, version in lines:
        versions[stream].append(version)
    assert all(each == list(range(1, len(each) + 1)) for each in versions.values())


async def owners(store: PostgresEventStore, name: str = "diary") -> list[int]:
    """How many shards each of the owners has, the most first."""
    async with store.connection() as connection:
        found = await connection.execute(
            "select count(*) from subscriptions where name = %s and owner is not null group by owner order by 1 desc",
            (name,),
        )
        return [count for (count,) in await found.fetchall()]


async def until_owned(store: PostgresEventStore, *counts: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await owners(store) != list(counts):  # noqa: ASYNC110 - it happens in the database
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(subscription: Subscription) -> AsyncIterator[asyncio.Task[None]]:
    task: asyncio.Task[None] = asyncio.create_task(subscription.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def member(url: str, *, seconds: float, shards: int = 1) -> AsyncIterator[Membership]:
    async with await connect(url) as connection:
        await set_up(connection, "diary", shards)
        yield Membership(connection, "diary", shards, seconds)


async def move(engine: AsyncEngine, lease: Lease, position: int) -> Lease | None:
    async with engine.begin() as connection:
        return await lease.move(connection, position)


async def test_whoever_has_slept_past_the_end_of_a_lease_can_move_nothing_once_it_is_anothers(
    app_url: str, engine: AsyncEngine
) -> None:
    async with member(app_url, seconds=0.1) as sleeper, member(app_url, seconds=NEVER) as other:
        (old,) = await sleeper.take(1)
        assert await other.take(1) == []
        await asyncio.sleep(0.15)
        (new,) = await other.take(1)
        assert await move(engine, old, 5) is None
        moved = await move(engine, new, 7)
        assert moved is not None
        assert moved.position == 7
        async with await connect(app_url) as connection:
            assert await old.renewed(connection) is None


async def test_a_lease_that_ran_out_and_that_nobody_took_still_holds(app_url: str, engine: AsyncEngine) -> None:
    async with member(app_url, seconds=0.1) as sleeper:
        (lease,) = await sleeper.take(1)
        await asyncio.sleep(0.15)
        assert await move(engine, lease, 5) is not None


async def test_nobody_takes_a_lease_over_in_the_middle_of_a_batch(app_url: str, engine: AsyncEngine) -> None:
    async with member(app_url, seconds=0.05) as slow, member(app_url, seconds=NEVER) as other:
        (lease,) = await slow.take(1)
        async with engine.begin() as connection:
            assert await lease.move(connection, 5) is not None
            await asyncio.sleep(0.1)
            assert await other.take(1) == []
        await asyncio.sleep(0.1)
        (taken,) = await other.take(1)
        assert taken.position == 5


async def test_where_a_process_died_another_goes_on_at_once(store: PostgresEventStore, app_url: str) -> None:
    async with member(app_url, seconds=NEVER) as dead:
        assert await dead.take(1)
    async with running(Subscription(app_url, Diary(), lease=NEVER)):
        await reached(store, "diary", await write(store, 3), timeout=PATIENCE)


async def test_a_process_that_shuts_down_hands_over_at_once(store: PostgresEventStore, app_url: str) -> None:
    async with running(Subscription(app_url, Diary("first"), lease=NEVER)) as first:
        await reached(store, "diary", await write(store, 3), timeout=PATIENCE)
        async with running(Subscription(app_url, Diary("second"), lease=NEVER)):
            await asyncio.sleep(0.2)
            first.cancel()
            await reached(store, "diary", await write(store, 3), timeout=PATIENCE)
    assert await diary(store, "who") == [("first",)] * 3 + [("second",)] * 3
    await all_is_there_once_and_in_order(store)


async def test_a_process_that_stood_still_past_its_lease_is_replaced_and_does_nothing_twice_when_it_wakes(
    store: PostgresEventStore, app_url: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.integration.subscriptions.diary_process", app_url]
    process = await GuardedProcess.start(Launch(name="diary", command=command, log=tmp_path / "log"))
    try:
        await reached(store, "diary", await write(store, 10), timeout=PATIENCE)
        await write(store, 50)
        os.kill(process.pid, signal.SIGSTOP)
        async with running(Subscription(app_url, Diary("here"), lease=0.5)):
            # In the midst of a transaction it keeps its lock until the server ends that, after half a minute.
            await reached(store, "diary", await write(store, 10), timeout=3 * PATIENCE)
            os.kill(process.pid, signal.SIGCONT)
            for _ in range(5):
                await write(store, 10)
                await asyncio.sleep(0.2)
            await reached(store, "diary", await write(store, 1), timeout=PATIENCE)
    finally:
        await process.stop()
    await all_is_there_once_and_in_order(store)
    assert ("here",) in await diary(store, "who")


@pytest.mark.parametrize("stands_still", ["select 1", "select pg_sleep(600)"])
async def test_a_batch_that_goes_on_for_too_long_is_given_up(
    store: PostgresEventStore, app_url: str, stands_still: str
) -> None:
    class Still(Diary):
        calls = 0

        async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
            await super().handle(events, connection)
            self.calls += 1
            if self.calls == 1:
                await connection.execute(text(stands_still))
                await asyncio.sleep(1)

    async with running(Subscription(app_url, Still(), lease=0.2)):
        await reached(store, "diary", await write(store, 3), timeout=PATIENCE)
    await all_is_there_once_and_in_order(store)


async def test_members_share_the_shards_evenly_as_they_come_and_go(store: PostgresEventStore, app_url: str) -> None:
    def another() -> Subscription:
        return Subscription(app_url, Diary(), shards=4, lease=0.6)

    async with running(another()):
        await until_owned(store, 4)
        async with running(another()):
            await until_owned(store, 2, 2)
            async with running(another()):
                await until_owned(store, 2, 1, 1)
            await until_owned(store, 2, 2)
        await until_owned(store, 4)


async def test_a_stream_keeps_its_order_over_shards_and_processes_that_come_and_go(
    store: PostgresEventStore, app_url: str
) -> None:
    dice = random.Random(7)

    async def come_and_go() -> None:
        while True:
            async with running(Subscription(app_url, Diary(), shards=4, lease=0.3, batch_size=5)):
                await asyncio.sleep(dice.uniform(0.1, 0.6))

    visitors = [asyncio.create_task(come_and_go()) for _ in range(3)]
    async with running(Subscription(app_url, Diary(), shards=4, lease=0.3, batch_size=5)):
        for _ in range(20):
            await write(store, 30)
        await reached(store, "diary", await store.high_water_mark(), timeout=PATIENCE)
        for visitor in visitors:
            visitor.cancel()
        await asyncio.wait(visitors)
    await all_is_there_once_and_in_order(store)


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 3), (3, 1)])
async def test_another_number_of_shards_loses_and_repeats_nothing(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine, before: int, after: int
) -> None:
    last = await write(store, 60)
    async with member(app_url, seconds=0.01, shards=before) as uneven:
        # As far as each has come, without having delivered anything: what lies before is left out of the count.
        for lease in await uneven.take(before):
            await move(engine, lease, 10 * lease.shard)
    async with running(Subscription(app_url, Diary(), shards=after, lease=0.3)):
        await reached(store, "diary", last, timeout=PATIENCE)
        await reached(store, "diary", await write(store, 20), timeout=PATIENCE)
    positions = [position for (position,) in await diary(store, "position")]
    assert len(positions) == len(set(positions))
    assert await passed_over(store, before) == {each.position for each in await store.read()} - set(positions)


async def passed_over(store: PostgresEventStore, shards: int) -> set[int]:
    """What lay before the positions that the test began with."""
    query = (
        "select position from events where position <= 10 * ((hashtextextended(aggregate_id, 0)"
        " & 9223372036854775807) %% %s)"
    )
    async with store.connection() as connection:
        return {position for (position,) in await (await connection.execute(query, (shards,))).fetchall()}


async def test_a_process_with_another_number_of_shards_waits_for_those_before_it_and_says_so(
    store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(Subscription(app_url, Diary("two"), shards=2, lease=0.6)) as two:
        await reached(store, "diary", await write(store, 5), timeout=PATIENCE)
        async with running(Subscription(app_url, Diary("three"), shards=3, lease=0.6)):
            async with asyncio.timeout(PATIENCE):
                while "waits until no process has it in another" not in caplog.text:  # noqa: ASYNC110 - in another's log
                    await asyncio.sleep(0.02)
            await reached(store, "diary", await write(store, 5), timeout=PATIENCE)
            assert set(await diary(store, "who")) == {("two",)}
            two.cancel()
            await until_owned(store, 3)
            await reached(store, "diary", await write(store, 5), timeout=PATIENCE)
    await all_is_there_once_and_in_order(store)


async def test_who_was_told_another_number_of_shards_takes_none_of_those_that_others_made(app_url: str) -> None:
    async with member(app_url, seconds=10, shards=2) as asleep, member(app_url, seconds=10, shards=1) as other:
        await asleep.join()
        async with await connect(app_url) as connection:
            assert await resharded(connection, "diary", 1, other.me, 10) == ()
        assert await asleep.take(1) == []
        (lease,) = await other.take(1)
        assert lease.shards == 1


async def test_a_lease_is_no_key_to_a_row_that_looks_the_same_and_is_anothers(
    store: PostgresEventStore, app_url: str, engine: AsyncEngine
) -> None:
    async with member(app_url, seconds=10, shards=2) as asleep:
        old = min(await asleep.take(2), key=lambda lease: lease.shard)
        async with store.connection() as connection:
            await connection.execute("delete from subscriptions where name = 'diary'")
    async with member(app_url, seconds=10, shards=1) as other:
        (new,) = await other.take(1)
        assert (old.shard, old.position, old.epoch) == (new.shard, new.position, new.epoch)
        assert await move(engine, old, 5) is None
        assert await move(engine, new, 5) is not None


async def test_two_that_begin_at_once_in_different_numbers_do_not_add_to_each_others_shards(app_url: str) -> None:
    async with await connect(app_url) as one, await connect(app_url) as two:
        async with one.transaction():
            assert await set_up(one, "diary", 1) == 1
            slower = asyncio.create_task(set_up(two, "diary", 2))
            await asyncio.sleep(0.3)
            assert not slower.done()
        assert await slower == 1


async def test_a_process_that_wakes_in_another_number_of_shards_gives_up_and_skips_nothing(
    store: PostgresEventStore, app_url: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.integration.subscriptions.diary_process", app_url, "2"]
    process = await GuardedProcess.start(Launch(name="diary", command=command, log=tmp_path / "log"))
    try:
        await reached(store, "diary", await write(store, 10), timeout=PATIENCE)
        os.kill(process.pid, signal.SIGSTOP)
        async with running(Subscription(app_url, Diary("here"), shards=1, lease=0.5)):
            await until_owned(store, 1)
            os.kill(process.pid, signal.SIGCONT)
            for _ in range(20):
                await write(store, 2)
                await asyncio.sleep(0.1)
            await reached(store, "diary", await write(store, 1), timeout=PATIENCE)
            async with asyncio.timeout(PATIENCE):
                while not process.printed("has 1 shards by now, and was to have 2"):  # noqa: ASYNC110 - another process does it
                    await asyncio.sleep(0.02)
    finally:
        await process.stop()
    await all_is_there_once_and_in_order(store)


async def test_a_standby_in_another_number_of_shards_delivers_nothing_twice(
    store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    standby = Subscription(app_url, Diary("standby"), shards=1, lease=0.6)
    async with member(app_url, seconds=2, shards=1) as dies:
        await dies.join()
        assert await dies.take(1)
        # For as long as the dead one counts as a member, nothing is due to the standby.
        waiting = asyncio.create_task(standby.run())
        await asyncio.sleep(0.5)
    try:
        async with running(Subscription(app_url, Diary("two"), shards=2, lease=0.6)):
            for _ in range(40):
                await write(store, 1, streams=1)
                await store.append(counter(str(random.random())), [Counted()], expect=ANY)
                await asyncio.sleep(0.08)
            await reached(store, "diary", await write(store, 1), timeout=PATIENCE)
            assert set(await diary(store, "who")) == {("two",)}
    finally:
        waiting.cancel()
        await asyncio.wait([waiting])
    assert "has 2 shards by now, and was to have 1" in caplog.text
    await all_is_there_once_and_in_order(store)


async def test_while_it_is_paused_nothing_is_delivered(store: PostgresEventStore, app_url: str) -> None:
    async def pause(paused: bool) -> None:
        async with store.connection() as connection:
            await connection.execute("update subscriptions set paused = %s where name = 'diary'", (paused,))

    async with running(Subscription(app_url, Diary(), lease=0.3)):
        await reached(store, "diary", await write(store, 3), timeout=PATIENCE)
        await pause(True)
        last = await write(store, 3)
        await asyncio.sleep(0.5)
        assert len(await diary(store, "position")) == 3
        await pause(False)
        await reached(store, "diary", last, timeout=PATIENCE)
    await all_is_there_once_and_in_order(store)


def test_at_least_one_shard(database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="it has 0 shards: give it one or more"):
        Subscription(database_url, Diary(), shards=0)
