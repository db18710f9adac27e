"""The turn to rebuild: a projection has one rebuild at a time, for two would fill one table.

The lock is a session's, so that it ends with the process that has it. The rebuild looks at it for as long as it goes
on, and stops where it is lost. docs/decisions/0120
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from counteract.errors import CounteractError, StoreUnavailable
from counteract.printable import printable
from counteract.store.postgres.connect import Connection, connect_directly
from counteract.store.postgres.driver_errors import translated

# The locks of stores that share a database are told apart by their schemas, as those of streams are.
_KEY = "hashtextextended(%(name)s, hashtextextended(current_schema(), 7203480155))"
_TAKE = f"select pg_try_advisory_lock({_KEY})"
_TAKE_FOR_A_TRANSACTION = f"select pg_try_advisory_xact_lock({_KEY})"
_GIVE_BACK = f"select pg_advisory_unlock({_KEY})"
_HOLDER = f"""
    select pid, backend_start from pg_locks left join pg_stat_activity using (pid)
    where locktype = 'advisory' and objsubid = 1 and granted
      and database = (select oid from pg_database where datname = current_database())
      and (classid::bigint << 32) | objid::bigint = {_KEY}
"""  # noqa: S608 - constants
# The server may notice only a moment later that a process has been killed.
_TRIES = 10
_PAUSE = 0.1


class RebuildRuns(CounteractError):
    """Another process rebuilds the projection: wait for that, or end it, and then run this one again."""


class Turn:
    """The right to rebuild one projection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def check(self) -> None:
        """Raises StoreUnavailable where the session is gone, and another rebuild may have begun."""
        with translated():
            await self._connection.execute("select 1")


@asynccontextmanager
async def turn_of(url: str, name: str) -> AsyncIterator[Turn]:
    """The turn to rebuild this projection, until the context ends. Raises RebuildRuns, which names the session that has
    it.
    """
    with translated():
        connection = await connect_directly(url, "a rebuild")
    async with connection:
        with translated():
            await _take(connection, name)
        yield Turn(connection)
        # Where the session is gone, so is the lock.
        with suppress(StoreUnavailable), translated():
            await connection.execute(_GIVE_BACK, {"name": name})


async def _take(connection: Connection, name: str) -> None:
    for _ in range(_TRIES):
        if await _is_taken(connection, name):
            return
        await asyncio.sleep(_PAUSE)
    raise RebuildRuns(await _who_has_it(connection, name))


async def refuse_running(connection: Connection, name: str) -> None:
    """Keep rebuilds from beginning until the transaction ends. Raises RebuildRuns where one is under way."""
    row = await (await connection.execute(_TAKE_FOR_A_TRANSACTION, {"name": name})).fetchone()
    if row != (True,):
        raise RebuildRuns(await _who_has_it(connection, name))


async def _is_taken(connection: Connection, name: str) -> bool:
    row = await (await connection.execute(_TAKE, {"name": name})).fetchone()
    return bool(row and row[0])


async def _who_has_it(connection: Connection, name: str) -> str:
    row = await (await connection.execute(_HOLDER, {"name": name})).fetchone()
    pid, since = row or (None, None)
    who = f"the session {pid} of PostgreSQL" if pid else "another session of PostgreSQL"
    return (
        f"{printable(name)!r} is being rebuilt: {who} has been at it{_since(since)}. Wait until it is done; or end its process, "
        "or the session with pg_terminate_backend, and run this again"
    )


def _since(since: datetime | None) -> str:
    # The work of other roles is shown to those roles alone.
    return f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
