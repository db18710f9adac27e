"""A PostgreSQL that dies, and that loses commits: to a copy that had fallen behind, or to one of an earlier time."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Set
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import psycopg

from counteract.dev import EmbeddedPostgres, PartCrashed

BEHIND = (0.3, 2.0)
"""Seconds for which the copy has not heard of the primary when that dies, from and to."""
EARLIER = (1.0, 6.0)
"""Seconds by which a restore goes back, from and to."""
MARGIN = timedelta(seconds=30)
"""How much later a commit may be than the time that is written in it."""

RECORDED = """
    select saga_id, concat_ws(' ', command_id, status, recorded_at, undone_since, late_since) from commands
    where greatest(started_at, recorded_at, undone_since, late_since) > %(time)s
    union all
    select coalesce(metadata ->> 'saga', aggregate_id), event_id::text from events
    where position > %(position)s and (metadata ? 'saga' or aggregate_type = 'saga')
"""
"""The query for what was written lately, by saga: two servers that answer alike have lost nothing."""
STATES = "select saga_id, concat_ws(' ', saga_id, run_id, state, epoch) from sagas where since > %(time)s"
INDEX = "create index on commands (greatest(started_at, recorded_at, undone_since, late_since))"
"""An index for that query, which comes twice for each copy and would read everything."""
SINCE = """
    with since as (select clock_timestamp() - %(margin)s as time)
    select time, (select coalesce(max(position), 0) from (
        -- From the end: there is no index on the time.
        select position from events where created_at <= time order by position desc limit 1) before)
    from since
"""

Recorded = Set[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Since:
    """A moment before which nothing was lost."""

    time: datetime
    position: int
    """The position of the last event by then."""


class MortalPostgres(EmbeddedPostgres):
    """A server that is killed on purpose, so that its end is no crash that a Supervisor should act on."""

    async def crashed(self) -> PartCrashed:
        return await never()


@dataclass(slots=True)
class Losses:
    """The sagas of which commits were lost: what they did in between, only Temporal and the provider know."""

    sagas: set[str] = field(default_factory=set)
    commits: int = 0

    async def note(self, replaced: Path, kept: Recorded, since: Since) -> None:
        """Hold what the server that is gone had on record against what its successor began with."""
        async with EmbeddedPostgres(replaced) as gone:
            lost = await recorded(gone, since) - kept
        shutil.rmtree(replaced)
        self.commits += len(lost)
        self.sagas |= {saga for saga, _ in lost}


@dataclass(frozen=True, slots=True)
class Unreliable:
    """One server, and the faults that befall it, one at a time."""

    postgres: MortalPostgres
    losses: Losses
    dice: random.Random
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def away(self, seconds: float) -> None:
        async with self.lock:
            await self.postgres.kill()
            await asyncio.sleep(seconds)
            await self.postgres.start()

    async def fail_over(self) -> None:
        """A standby loses touch; then the primary dies, and the standby takes over with what it has."""
        async with self.lock:
            since = await now(self.postgres)
            copy = await self.postgres.back_up("--write-recovery-conf")
            async with EmbeddedPostgres(copy) as standby:
                await detach(standby)
                await asyncio.sleep(self.dice.uniform(*BEHIND))
                await self.postgres.kill()
                await tell(standby, "select pg_promote()")
                kept = await recorded(standby, since)
            replaced = await self.postgres.put_back(copy)
        await self.losses.note(replaced, kept, since)

    async def restore(self) -> None:
        """Put back a copy of some time ago. Temporal goes on from where it is."""
        async with self.lock:
            since = await now(self.postgres)
            copy = await self.postgres.back_up()
        await asyncio.sleep(self.dice.uniform(*EARLIER))
        async with self.lock:
            async with EmbeddedPostgres(copy) as earlier:
                kept = await recorded(earlier, since)
            replaced = await self.postgres.put_back(copy)
        await self.losses.note(replaced, kept, since)


async def detach(standby: EmbeddedPostgres) -> None:
    """Have a standby hear no more of its primary, so that it falls behind."""
    await tell(standby, "alter system set primary_conninfo = ''")
    await tell(standby, "select pg_reload_conf()")


async def now(server: EmbeddedPostgres) -> Since:
    (row,) = await ask(server, SINCE, margin=MARGIN)
    return Since(*row)


async def recorded(server: EmbeddedPostgres, since: Since) -> Recorded:
    rows = await ask(server, RECORDED, **asdict(since))
    return {*rows, *await ask(server, STATES, time=since.time)}


async def ask(server: EmbeddedPostgres, query: str, **parameters: Any) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection:
        return await (await connection.execute(query.encode(), parameters)).fetchall()


async def tell(server: EmbeddedPostgres, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection:
        await connection.execute(statement.encode())


async def never() -> NoReturn:
    """The answer for a Supervisor that asks whether a part has crashed."""
    while True:
        await asyncio.Event().wait()
