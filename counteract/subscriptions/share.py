"""The shards of a subscription that are this process's, while it takes part in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from counteract.subscriptions.lease import Lease
from counteract.subscriptions.lookout import Watch
from counteract.subscriptions.membership import Membership
from counteract.subscriptions.shard import Shard
from counteract.subscriptions.terms import Terms
from counteract.subscriptions.tries import Redriving


class Share:
    """The shards that a member has, each served in a task of its own."""

    def __init__(self, terms: Terms, watch: Watch, member: Membership, redriving: Mapping[int, Redriving]) -> None:
        self._terms = terms
        self._watch = watch
        self._member = member
        self._redriving = redriving
        self._serving: dict[Lease, asyncio.Task[None]] = {}

    async def serve(self, lease: Lease, *, up_to: int | None = None) -> None:
        """Deliver one shard until it is another process's, or a position is reached."""
        shard = Shard(self._terms, lease, self._watch, self._member, self._redriving[lease.shard])
        await shard.serve(up_to=up_to)

    async def take(self) -> None:
        """Give back shards beyond the member's due, or take free ones up to it. Raises what one has ended with."""
        for lease, task in [(lease, task) for lease, task in self._serving.items() if task.done()]:
            del self._serving[lease]
            task.result()
        for lease in list(self._serving)[self._member.due :]:
            await _stopped(self._serving.pop(lease))
            await self._member.release(lease)
        if len(self._serving) < self._member.due:
            for lease in await self._member.take(self._member.due - len(self._serving)):
                self._serving[lease] = asyncio.create_task(self.serve(lease))

    async def next_beat(self, beats: int) -> None:
        """Return once there were more beats than that, or one of the shards has ended: it is time to look again."""
        waiting = asyncio.create_task(self._watch.beaten(beats))
        try:
            await asyncio.wait([waiting, *self._serving.values()], return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            await _stopped(waiting)

    async def stop(self) -> None:
        """End all of them, and keep their leases."""
        await _stopped(*self._serving.values())


async def _stopped(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
