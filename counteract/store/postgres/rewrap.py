"""Rewrapping: the keys of subjects go under a new master key, one after the other, so that the earlier one can go.

Everything that is sealed under them stays as it is. An interrupted run goes on where it was; a subject that is
forgotten meanwhile stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from counteract.errors import PersonalDataLocked, StoreError
from counteract.store.master_key import KeyWrapper
from counteract.store.postgres.connect import Connection, connect
from counteract.store.postgres.driver_errors import translated

_PAGE, _MOST_NAMED = 200, 20
_ALL = "select count(*) from personal_keys where wrapped_key is not null and wrapped_by is distinct from %s"
_NEXT = """
    select key_id, wrapped_key from personal_keys
    where wrapped_key is not null and wrapped_by is distinct from %s and key_id > %s
    order by key_id limit %s
"""
# Replaced only where it is still as it was read: a key that was destroyed since must not come back.
_REPLACE = """
    update personal_keys k set wrapped_key = n.fresh, wrapped_by = %s
    from unnest(%s::uuid[], %s::bytea[], %s::bytea[]) as n (key_id, stale, fresh)
    where k.key_id = n.key_id and k.wrapped_key = n.stale
"""
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """How far a rewrapping has come."""

    done: int
    """The keys that were rewrapped."""
    left: int
    """The keys that are still under other master keys, as far as known."""
    locked: Sequence[UUID] = ()
    """Keys that no master key at hand unwraps, the first 20."""


async def rewrap(url: str, master: KeyWrapper, progress: Callable[[Rewrapped], None] = lambda _: None) -> Rewrapped:
    """Rewrap keys until none is left that another master key has wrapped, or none that can be unwrapped. Safe to
    repeat.

    Connect as the owner of the tables. Raises StoreError for anybody else, StoreUnavailable.
    """
    with translated():
        async with await connect(url) as connection:
            await _refuse_others(connection)
            return await _Rewrapping(connection, master, progress).run()


class _Rewrapping:
    def __init__(self, connection: Connection, master: KeyWrapper, progress: Callable[[Rewrapped], None]) -> None:
        self._connection = connection
        self._master = master
        self._progress = progress
        self._done = 0
        self._locked: list[UUID] = []

    async def run(self) -> Rewrapped:
        after = _FIRST
        left = await self._left()
        self._progress(Rewrapped(0, left))
        while rows := await self._next(after):
            after = rows[-1][0]
            replaced = await self._replace([each for row in rows if (each := await self._fresh(*row))])
            self._done += replaced
            left = max(0, left - replaced)
            self._progress(Rewrapped(self._done, left))
        return Rewrapped(self._done, await self._left(), tuple(self._locked[:_MOST_NAMED]))

    async def _left(self) -> int:
        row = await (await self._connection.execute(_ALL, (self._master.name,))).fetchone()
        return int(row[0]) if row else 0

    async def _next(self, after: UUID) -> Sequence[Any]:
        found = await self._connection.execute(_NEXT, (self._master.name, after, _PAGE))
        return await found.fetchall()

    async def _fresh(self, key_id: UUID, stale: bytes) -> tuple[UUID, bytes, bytes] | None:
        context = key_id.bytes
        try:
            secret = await self._master.unwrap(stale, context)
        except PersonalDataLocked:
            self._locked.append(key_id)
            return None
        fresh = await self._master.wrap(secret, context)
        # A key that cannot be unwrapped again would be lost with the row that it replaces.
        if await self._master.unwrap(fresh, context) != secret:
            raise StoreError(f"{self._master.name} does not unwrap what it has wrapped: nothing of it was stored")
        return key_id, stale, fresh

    async def _replace(self, keys: Sequence[tuple[UUID, bytes, bytes]]) -> int:
        columns = [list(column) for column in zip(*keys, strict=True)] or [[], [], []]
        return (await self._connection.execute(_REPLACE, (self._master.name, *columns))).rowcount


async def _refuse_others(connection: Connection) -> None:
    row = await (await connection.execute("select has_table_privilege('personal_keys', 'update')")).fetchone()
    if not (row and row[0]):
        raise StoreError("connect as the owner of the tables, who also migrates: nobody else may replace a key")
