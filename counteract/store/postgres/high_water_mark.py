"""The high water mark: up to where the global order is settled, by proof and without waiting for time to pass.

Positions are drawn before their transactions commit, so a reader that goes by the highest position it sees skips those
that commit later. But an INSERT takes its RowExclusiveLock on `events` before it draws a position, and keeps it until
its transaction has ended and its outcome is visible. So whoever reads the sequence first and the holders of that lock
second knows every transaction that may still owe a position up to the value read. Once all of *those* are gone, each of
these positions is committed or dead for ever, whoever else has begun to write since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from counteract.errors import StoreReadOnly, StoreUnavailable
from counteract.observability import observe_delay
from counteract.store.postgres.connect import Connection

# last_value says nothing before the first value was drawn. Both statements read shared memory, not a snapshot. A
# standby knows neither the sequence as it is nor the locks.
_SEQUENCE = "select case when is_called then last_value else 0 end, pg_is_in_recovery() from events_position_seq"
_HOLDERS = """
    select pid, virtualtransaction from pg_locks
    where locktype = 'relation' and mode = 'RowExclusiveLock' and granted
      and relation = 'events'::regclass
      and database = (select oid from pg_database where datname = current_database())
"""

_STANDBY = (
    "this server is a standby, which does not know what is being appended: read the log from the primary server (several hosts "
    "and target_session_attrs=read-write in the URL find it), or wait until this one is promoted; retry"
)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05


class Holder(NamedTuple):
    """A transaction that holds the lock."""

    pid: int | None
    """The process of its session; None for a prepared transaction, which belongs to no session."""
    transaction: str
    """The virtual transaction id."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value read from the sequence, and the transactions that may still owe a position up to it."""

    position: int
    pending: frozenset[Holder]
    prepared: frozenset[Holder]
    """The holders that were prepared at the last look, pending or not."""
    prepared_before: frozenset[Holder]
    """The holders that were prepared at the look before."""

    @classmethod
    def of(cls, position: int, holders: AbstractSet[Holder]) -> Candidate:
        """A candidate for a position; `holders` were read after it."""
        prepared = _prepared(holders)
        return cls(position, frozenset(holders), prepared, prepared)

    def seen_again(self, holders: AbstractSet[Holder]) -> Candidate:
        """The candidate with what is still pending, given the holders of now.

        PREPARE TRANSACTION gives a lock to another holder. So when a session's transaction is gone, any prepared one
        that is new may be its continuation. New is also one that came with the last look: pg_locks reads the sessions'
        own locks first and the shared table later, and may show one transaction as both. When no session is gone, none
        is continued, so this comes to an end however many transactions are prepared meanwhile.
        """
        gone = self.pending - holders
        prepared = _prepared(holders)
        is_new = prepared - self.prepared_before
        may_continue = is_new if any(holder.pid is not None for holder in gone) else frozenset[Holder]()
        return Candidate(self.position, (self.pending & holders) | may_continue, prepared, self.prepared)


def _prepared(holders: AbstractSet[Holder]) -> frozenset[Holder]:
    return frozenset(holder for holder in holders if holder.pid is None)


def _seen_since(before: Mapping[Holder, float], holders: AbstractSet[Holder], now: float) -> Mapping[Holder, float]:
    """The time at which each holder was first seen. A prepared one counts from the oldest of those gone, which it may
    have been.
    """
    oldest_gone = min((since for holder, since in before.items() if holder not in holders), default=now)
    return {holder: before.get(holder, oldest_gone if holder.pid is None else now) for holder in holders}


class HighWaterMark:
    """The high water mark as seen through one connection, which must be in autocommit mode.

    A new connection needs a new object: a server that crashed ends every connection, and may have lost positions that
    it had drawn but not written down, so what this object knew is void then. Through a pooler, whose sessions change,
    only `settled` may be used.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._candidate = Candidate.of(0, frozenset())
        self.position = 0
        """Every position up to this one is committed or dead for ever. Statements that begin now see all of them."""
        self.delay = 0.0
        """How many seconds the oldest transaction that it waits for had been seen with the lock, at the last look.

        0 where nobody waits: after a look that failed, too, for the error's traceback may keep this object alive.
        """
        self._seen_since: Mapping[Holder, float] = {}
        observe_delay(self)

    @property
    def drawn(self) -> int:
        """The newest position that `advance` has read from the sequence."""
        return self._candidate.position

    @property
    def is_settled(self) -> bool:
        """Whether the mark is at the newest position that `advance` has read, so that there is nothing to wait for."""
        return self.position == self._candidate.position

    async def advance(self) -> int:
        """Look once, without waiting; the mark, moved as far as can be proved now. One round trip."""
        try:
            position, holders = await self._look()
        except BaseException:
            self.delay = 0.0
            raise
        candidate = self._candidate.seen_again(holders)
        if not candidate.pending:
            self.position = candidate.position
            candidate = Candidate.of(position, holders)
            if not candidate.pending:
                self.position = position
        self._candidate = candidate
        self._measure(holders)
        return self.position

    def _measure(self, holders: AbstractSet[Holder]) -> None:
        now = monotonic()
        self._seen_since = _seen_since(self._seen_since, holders, now)
        self.delay = now - min((self._seen_since[holder] for holder in self._candidate.pending), default=now)

    async def settled(self, *, timeout: float) -> int:  # noqa: ASYNC109 - the error says what was waited for
        """The mark, at or beyond the sequence's value of now. Raises StoreUnavailable after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._connection.session():
                return await self._wait()
        except TimeoutError:
            raise StoreUnavailable(f"an append has been under way for more than {timeout} seconds; retry") from None
        finally:
            self.delay = 0.0

    async def _wait(self) -> int:
        await self.advance()
        target, pause = self._candidate.position, _FIRST_PAUSE
        while self.position < target:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            await self.advance()
        return self.position

    async def _look(self) -> tuple[int, set[Holder]]:
        # One round trip, two statements: within a single one nothing would tell which part is read first.
        async with self._connection.pipeline():
            sequence = await self._connection.execute(_SEQUENCE)
            holders = await self._connection.execute(_HOLDERS)
        position, is_standby = await sequence.fetchone() or (0, False)
        if is_standby:
            raise StoreReadOnly(_STANDBY)
        return position, {Holder(*row) for row in await holders.fetchall()}
