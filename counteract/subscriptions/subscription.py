"""The delivery of events to a subscriber, for as long as the process lives."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import NoReturn

import psycopg

from counteract.errors import ConfigurationError
from counteract.store.master_key import KeyWrapper
from counteract.store.postgres.connect import connect, connect_directly
from counteract.store.postgres.driver_errors import translated
from counteract.store.postgres.vault import Vault
from counteract.subscriptions import shard_count
from counteract.subscriptions.backoff import spread
from counteract.subscriptions.health import Health
from counteract.subscriptions.lag import Lag
from counteract.subscriptions.lookout import Lookout, Watch
from counteract.subscriptions.membership import Membership
from counteract.subscriptions.shard import stop_if_cancelled
from counteract.subscriptions.share import Share
from counteract.subscriptions.subscriber import Subscriber, prepare
from counteract.subscriptions.terms import Polling, Terms
from counteract.subscriptions.tries import Redriving

_POLLING = Polling()

_OUTDATED = "subscription %r has %d shards by now, and was to have %d: this process takes no more part in it as it is"

_GONE = (
    "subscription %r is not there any more: it was dropped, or is kept by whoever appends. This process takes no part in it until it is "
    "started again"
)

_logger = logging.getLogger("counteract.subscriptions")


class Subscription:
    """Reads the events between the checkpoint and the high water mark, hands them over, and moves the checkpoint.

    Each of its shards belongs to one process at a time, and the events of one stream to one shard, in order. Another
    process goes on where one ends, at once where it died, and after `lease` seconds where it stands still.

    A database that goes away is waited for. A batch that fails is delivered again; after `attempts` its events are
    handled one by one, and those that fail are parked with all that comes later in their streams. Nothing is skipped. A
    batch has `batch_size` events at the most, and fewer where they take long to handle. A subscription that is further
    behind than `within` logs that. A process that stands still in the middle of a batch keeps it for as long as three
    leases, or three times `longest_batch` seconds where more must be allowed. With `begins=False` a subscription only
    goes on: nothing is delivered before somebody else has begun it, nor after its checkpoint was removed.
    """

    def __init__(
        self,
        url: str,
        subscriber: Subscriber,
        *,
        shards: int = 1,
        lease: float = 10.0,
        batch_size: int = 500,
        attempts: int = 5,
        polling: Polling = _POLLING,
        within: timedelta | None = None,
        longest_batch: float | None = None,
        master_key: KeyWrapper | None = None,
        lookout: Lookout | None = None,
        begins: bool = True,
    ) -> None:
        if shards < 1:
            raise ConfigurationError(
                f"subscription {subscriber.name!r}", [f"it has {shards} shards: give it one or more"]
            )
        self._url = url
        # Those of one process may share it.
        self._lookout = lookout or Lookout(url)
        self._subscriber = subscriber
        self._shards = shards
        self._seconds = lease
        self._terms = Terms(
            subscriber=subscriber,
            batch_size=batch_size,
            attempts=attempts,
            longest_batch=longest_batch or lease,
            polling=polling,
            vault=Vault(master_key),
            health=Health(subscriber.name),
            lag=Lag(subscriber.name, within),
        )
        # A shard that comes back to this process finds the same code.
        self._redriving = defaultdict[int, Redriving](Redriving)
        self._within = within
        self._begins = begins
        self._has_reported = False
        self._set_up_shards = partial(shard_count.set_up, name=subscriber.name, shards=shards, begins=begins)

    async def run(self) -> NoReturn:
        """Deliver until it is cancelled. Raises ConfigurationError, and handles everything else."""
        while True:
            try:
                with translated():
                    await self._take_part()
            except ConfigurationError:
                raise
            except Exception as error:
                stop_if_cancelled(error)
                await asyncio.sleep(self._terms.health.failed(error))

    async def _take_part(self) -> None:
        """Deliver this process's share until there is another number of shards."""
        async with self._lookout.joined() as watch:
            member = Membership(watch.connection, self._subscriber.name, self._shards, self._seconds)
            share = Share(self._terms, watch, member, self._redriving)
            await self._set_up(watch, member, share)
            await member.join()
            watch.enter(member, self._terms.polling.longest)
            try:
                while not member.is_outdated:
                    beats = watch.beats
                    self._report_gone(member)
                    await share.take()
                    await share.next_beat(beats)
                _logger.warning(_OUTDATED, member.name, member.there, member.shards)
            finally:
                watch.exit(member)
                await share.stop()
                # The watch's own may have failed; and if the database is gone, so are the leases.
                with suppress(psycopg.Error):
                    async with await connect(self._url) as last:
                        await member.leave(last)

    def _report_gone(self, member: Membership) -> None:
        """Log it once, but for a subscription that others begin: they also end it."""
        if self._begins and not member.there and not self._has_reported:
            self._has_reported = True
            _logger.warning(_GONE, member.name)

    async def _set_up(self, watch: Watch, member: Membership, share: Share) -> None:
        name = self._subscriber.name
        async with await connect_directly(self._url, "a subscription") as connection:
            await self._set_up_shards(connection)
            async with watch.pairs.one(self._terms.limits) as pair:
                await prepare(self._subscriber, pair.writer)
            waits = False
            # It may be dropped while this waits.
            while await self._set_up_shards(connection) != self._shards:
                uneven = await shard_count.resharded(connection, name, self._shards, member.me, self._seconds)
                for lease in uneven or ():
                    await share.serve(lease, up_to=max(each.position for each in uneven or ()))
                if uneven is None:
                    if not waits:
                        _logger.warning(
                            "subscription %r waits until no process has it in another number of shards", name
                        )
                    waits = True
                    await asyncio.sleep(spread(self._seconds / 10))
            await shard_count.declare(connection, name, self._within)
