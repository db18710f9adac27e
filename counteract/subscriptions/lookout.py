"""The lookout that the subscriptions of a process have in common, so that one with nothing to do costs next to nothing.

Two connections stay open for all of them: one hears of appends and of leases, the other looks at the log a few times a
second, in case that no notification comes, and keeps memberships and leases alive. Their loss is the loss of the leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import monotonic

from counteract.store.postgres.connect import Connection, connect_directly
from counteract.store.postgres.errands import Errands
from counteract.subscriptions.backoff import spread
from counteract.subscriptions.bell import Bell
from counteract.subscriptions.membership import KEEP, Membership, columns
from counteract.subscriptions.pairs import STAYS, Pairs

_PURPOSE = "a subscription"
_DRAWN = "select case when is_called then last_value else 0 end from events_position_seq"
# In seconds. Where several processes come and go at once, each tells all others.
_GATHERS = 0.02


class Watch:
    """One life of the connections. Every wait for news or beats raises what ended it."""

    def __init__(self, connection: Connection, listener: Connection, pairs: Pairs) -> None:
        self.users = 0
        self.connection = connection
        """The connection for single statements of all. The leases that it owns are free as soon as it is gone."""
        self.pairs = pairs
        self.news = 0
        """How often there may have been events."""
        self.beats = 0
        """How often memberships and leases were looked at, and kept alive."""
        self.begun = 0
        """How many beats have begun: of a lease that is taken from now on only the next one knows."""
        self._listener = listener
        self._members: dict[str, Membership] = {}
        self._polling: dict[str, float] = {}
        self._drawn: int | None = None
        self._bell = Bell()
        self._wanted = Bell()
        self._failure: Exception | None = None

    def enter(self, member: Membership, polling: float) -> None:
        """Keep the membership alive from now on, and look at the log every `polling` seconds at the latest."""
        self._members[member.name] = member
        self._polling[member.name] = polling
        # The present pause may be longer.
        self._wanted.ring()

    def exit(self, member: Membership) -> None:
        """Keep the membership alive no longer."""
        del self._members[member.name], self._polling[member.name]

    async def heard(self, *, news: int, beats: int, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as in Bell
        """Return after more news or beats, or `timeout` seconds. Raises what a connection failed with."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while (self.news, self.beats) == (news, beats) and not self._failure:
                    await self._bell.heard(self._bell.count)
        self._raise_failure()

    async def beaten(self, beats: int) -> None:
        """Return once there were more beats. Raises what a connection failed with."""
        while self.beats == beats and not self._failure:
            await self._bell.heard(self._bell.count)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    @property
    def has_failed(self) -> bool:
        """Whether a connection has failed, so that another watch has to take its place."""
        return self._failure is not None

    async def close(self) -> None:
        """Close the connections, after all pairs."""
        await self.pairs.close()
        await self.connection.close()
        await self._listener.close()

    async def run(self) -> None:
        """Listen and look until it is cancelled, or a connection fails."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                tasks.create_task(self._look())
        except ExceptionGroup as failed:
            self._failure = failed.exceptions[0]
            self._bell.ring()

    async def _listen(self) -> None:
        async for each in self._listener.notifies():
            if each.channel == self._listener.store.leases:
                self._wanted.ring()
            else:
                self._tell_news()

    async def _look(self) -> None:
        next_beat = 0.0
        while True:
            wanted = self._wanted.count
            if self._members and monotonic() >= next_beat:
                await self._beat(list(self._members.values()))
                await self.pairs.trim()
                next_beat = monotonic() + spread(
                    min((each.seconds for each in self._members.values()), default=1.0) / 3
                )
            else:
                row = await (await self.connection.execute(_DRAWN)).fetchone()
                self._saw(row[0] if row else 0)
            pause = min(self._polling.values(), default=1.0)
            await self._wanted.heard(wanted, timeout=min(pause, max(next_beat - monotonic(), 0.0)))
            if self._wanted.count != wanted:
                await asyncio.sleep(_GATHERS)
                next_beat = 0.0

    async def _beat(self, members: list[Membership]) -> None:
        self.begun += 1
        rows = await (await self.connection.execute(KEEP, columns(members))).fetchall()
        kept = {name: rest for name, *rest in rows}
        for each in members:
            drawn, *rest = kept[each.name]
            each.kept(self.begun, *rest)
            self._saw(drawn)
        self.beats += 1
        self._bell.ring()

    def _saw(self, drawn: int) -> None:
        if drawn != self._drawn:
            self._drawn = drawn
            self._tell_news()

    def _tell_news(self) -> None:
        self.news += 1
        self._bell.ring()


class Lookout:
    """Opens a watch for the first subscription that asks for it, and closes it after the last."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._turns = asyncio.Lock()
        self._errands = Errands()
        self._watch: Watch | None = None
        self._running: dict[Watch, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[Watch]:
        """The watch that all subscriptions have, or the next one where that has failed.

        Raises ConfigurationError for a pooler's URL.
        """
        async with self._turns:
            if self._watch is None or self._watch.has_failed:
                self._watch = await self._opened()
            watch = self._watch
            watch.users += 1
        try:
            yield watch
        finally:
            watch.users -= 1
            if not watch.users:
                self._watch = None if self._watch is watch else self._watch
                await self._errands.run(self._close(watch))

    async def _opened(self) -> Watch:
        async with AsyncExitStack() as opening:
            connection = await opening.enter_async_context(await connect_directly(self._url, _PURPOSE))
            listener = await opening.enter_async_context(await connect_directly(self._url, _PURPOSE))
            for each in (connection, listener):
                await each.execute(STAYS)
            for channel in (listener.store.leases, listener.store.channel):
                await listener.execute(f"listen {channel}")
            opening.pop_all()
        watch = Watch(connection, listener, Pairs(self._url, _PURPOSE))
        self._running[watch] = asyncio.create_task(watch.run(), name="counteract-lookout")
        return watch

    async def _close(self, watch: Watch) -> None:
        task = self._running.pop(watch)
        task.cancel()
        await asyncio.wait([task])
        await watch.close()
