"""One shard of a subscription, while a process has it: delivered when there is something to do, at rest in between."""

from __future__ import annotations

import asyncio

from counteract.errors import RowsOfOtherCode
from counteract.store.postgres.driver_errors import translated
from counteract.subscriptions.delivery import Delivery
from counteract.subscriptions.lease import Lease
from counteract.subscriptions.lookout import Watch
from counteract.subscriptions.membership import Membership
from counteract.subscriptions.pace import Pace
from counteract.subscriptions.subscriber import prepare
from counteract.subscriptions.terms import Terms
from counteract.subscriptions.tries import Redriving, Tries

_NEVER_LOOKED = -1


class Shard:
    """A shard that this process has. It keeps what outlives a pair of connections: the lease, and its tries.

    It has connections only while it works. At rest it is woken by the watch, which looks at the log for all.
    """

    def __init__(self, terms: Terms, lease: Lease, watch: Watch, member: Membership, redriving: Redriving) -> None:
        self._terms = terms
        self._subscriber = terms.subscriber
        self._lease = lease
        self._watch = watch
        self._member = member
        self._tries = Tries(Pace(terms.batch_size, seconds=terms.longest_batch / 4), redriving, terms.attempts)
        self._is_prepared = False
        # By this process's code, whatever is parked: once at the start, and after whatever went wrong.
        self._redrives = True

    async def serve(self, *, up_to: int | None = None) -> None:
        """Deliver until the shard is another process's, or a position is reached.

        After whatever goes wrong it goes on as soon as it can.
        Raises RowsOfOtherCode where another process has to.
        """
        self._member.served.add(self._lease.shard)
        try:
            await self._serve(up_to)
        finally:
            self._member.served.discard(self._lease.shard)
            self._terms.lag.is_done(self._lease.shard)

    async def _serve(self, up_to: int | None) -> None:
        goes_on = True
        while goes_on:
            # Before it looks: what comes meanwhile may be seen twice, and is not missed.
            news = self._watch.news
            try:
                with translated():
                    goes_on = await self._work(up_to) and await self._rest(news)
            except RowsOfOtherCode:
                raise
            except Exception as error:
                stop_if_cancelled(error)
                self._is_prepared, self._redrives = False, True
                self._tries.fail(error)
                await asyncio.sleep(self._terms.health.failed(error))

    async def _work(self, up_to: int | None) -> bool:
        """Deliver until there is nothing to do. Whether it is still this process's, and short of the position."""
        async with self._watch.pairs.one(self._terms.limits) as pair:
            if not self._is_prepared:
                await prepare(self._subscriber, pair.writer)
                self._is_prepared = True
            delivery = Delivery(self._terms, self._lease, self._tries, pair)
            lease = await delivery.run(up_to=up_to, redrive=self._redrives)
        self._redrives = False
        self._lease = lease or self._lease
        return lease is not None

    async def _rest(self, news: int) -> bool:
        """Wait until there may be something to do. Whether it is still this process's."""
        begun = self._watch.begun
        if self._subscriber.is_resting:
            news = _NEVER_LOOKED
        while (takes_nothing := self._subscriber.is_resting) or self._watch.news == news:
            seen, beats = self._watch.news, self._watch.beats
            pause = self._terms.polling.longest if takes_nothing else None
            await self._watch.heard(news=seen, beats=beats, timeout=pause)
            if self._watch.beats == beats:
                continue
            before, lease = self._lease, self._member.standing(self._lease, begun)
            if lease is None:
                return False
            self._lease = lease
            # In another epoch it has started over, or has other rows.
            self._is_prepared = self._is_prepared and lease is before
            await self._subscriber.watch()
            self._redrives = self._member.has_to_redrive(self._tries.redriving.is_near, begun)
            if self._redrives or lease is not before:
                break
        return True


def stop_if_cancelled(error: Exception) -> None:
    """Raise CancelledError where the task is cancelled, and `error` has only taken its place.

    A cancelled transaction whose connection is lost fails to roll back.
    """
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError from error
