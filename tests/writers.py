"""Writers for tests of those who read beside them: they dawdle, share streams, and end in every way that a transaction can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from counteract.dev import EmbeddedPostgres
from counteract.store.expect import StreamChange
from counteract.store.postgres.append import APPEND_ONE, APPEND_PLACEHOLDERS, append_arguments
from counteract.store.postgres.connect import Connection
from tests.counters import Counted, counter

Connect = Callable[[], Awaitable[Connection]]

_APPEND = f"select append_events({APPEND_PLACEHOLDERS})"
_APPEND_ONE = f"select {APPEND_ONE}"

STREAMS = [f"shared-{number}" for number in range(12)]
_LONGEST_PAUSE = 0.02
_PREPARED_AT_ONCE = 8


async def append(
    connection: Connection, *streams: str, events: int = 1, event_ids: Sequence[UUID] | None = None
) -> None:
    """So many events to each of the streams."""
    changes = [StreamChange(counter(stream), 0, 2**31 - 1, [Counted()] * events) for stream in streams]
    arguments = append_arguments(changes, {}, event_ids)
    if one := arguments.of_one_event:
        await connection.execute(_APPEND_ONE, one)
    else:
        await connection.execute(_APPEND, arguments.literals)


@asynccontextmanager
async def writing(connect: Connect, *, writers: int, transactions: int, seed: int) -> AsyncIterator[Callable[[], bool]]:
    """So many writers at work, all at once; the function says whether they have finished."""
    killer, may_prepare = await connect(), asyncio.Semaphore(_PREPARED_AT_ONCE)
    chances = [Random(f"{seed}/{number}") for number in range(writers)]
    at_work = [Writer(await connect(), connect, killer, may_prepare, chance) for chance in chances]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(writer.write(transactions)) for writer in at_work]
        yield lambda: all(task.done() for task in tasks)


@dataclass
class Writer:
    """Does what `chance` says."""

    connection: Connection
    connect: Connect
    killer: Connection
    may_prepare: asyncio.Semaphore
    chance: Random

    async def write(self, transactions: int) -> None:
        for _ in range(transactions):
            streams = self.chance.sample(STREAMS, self.chance.choice([1, 1, 1, 3]))
            events = self.chance.randint(1, 3)
            ids = [uuid7() for _ in range(events * len(streams))]
            await self.connection.execute("begin")
            if self.chance.random() < 0.1:
                await self._think_better_of(streams)
            await append(self.connection, *streams, events=events, event_ids=ids)
            await self._dawdle()
            await self._end()
            if self.chance.random() < 0.1:
                # Of what is there already it draws positions all the same, and leaves them empty.
                await append(self.connection, *streams, events=events, event_ids=ids)

    async def _think_better_of(self, streams: Sequence[str]) -> None:
        await self.connection.execute("savepoint s")
        await append(self.connection, *streams)
        await self._dawdle()
        await self.connection.execute("rollback to savepoint s")

    async def _end(self) -> None:
        match self.chance.choices(["commit", "rollback", "prepare", "die"], [10, 3, 3, 1])[0]:
            case "prepare":
                await self._prepare()
            case "die":
                await self._die()
            case statement:
                await self.connection.execute(statement)

    async def _prepare(self) -> None:
        end, name = self.chance.choice(["commit", "rollback"]), uuid7()
        async with self.may_prepare:
            await self.connection.execute(f"prepare transaction '{name}'")
            await self._dawdle()
            await self.connection.execute(f"{end} prepared '{name}'")

    async def _die(self) -> None:
        await self.killer.execute("select pg_terminate_backend(%s)", (self.connection.info.backend_pid,))
        with suppress(psycopg.OperationalError):
            await self.connection.execute("commit")
        self.connection = await self.connect()

    async def _dawdle(self) -> None:
        await asyncio.sleep(self.chance.random() * _LONGEST_PAUSE)


def skip_without_merge(server: EmbeddedPostgres, statement: str) -> None:
    """PostgreSQL has had it since 15."""
    if statement.startswith("merge") and int(server.version.split(".")[0]) < 15:
        pytest.skip("a server without MERGE")
