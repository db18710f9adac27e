"""The log as one shard of a subscription reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Self

from counteract.errors import LogCutShort
from counteract.store import StoredEvent
from counteract.store.postgres.connect import Connection
from counteract.store.postgres.high_water_mark import HighWaterMark
from counteract.store.postgres.read import read_page
from counteract.subscriptions.pace import Pace

# In seconds. A mark holds for good; but how far behind it a long way leaves a subscription should be known.
_LOOK_AGAIN = 0.25


@dataclass(frozen=True, slots=True)
class Page:
    """All events of a shard after one position, and up to another."""

    after: int
    events: Sequence[StoredEvent]
    """The events as they are stored: personal data is opened when its turn has come, and not before."""
    position: int
    end: int
    """The high water mark when it was read."""

    @property
    def is_last(self) -> bool:
        """Whether it reaches up to the high water mark."""
        return self.position == self.end


class ReadingAhead:
    """The pages of a shard. While one is handled, the server is at work on the next."""

    def __init__(
        self,
        connection: Connection,
        *,
        pace: Pace,
        event_types: Collection[str] | None,
        vocabulary: Mapping[str, Collection[str]],
        condition: str,
    ) -> None:
        self.mark = HighWaterMark(connection)
        self._connection = connection
        self._pace = pace
        self._event_types = event_types
        self._vocabulary = vocabulary
        self._condition = condition
        self._looked_at = 0.0
        self._is_large = False
        self._upcoming: asyncio.Task[Page] | None = None

    @asynccontextmanager
    async def until_done(self) -> AsyncIterator[Self]:
        """A block for reading: nothing is being read any more when it ends."""
        try:
            yield self
        finally:
            if self._upcoming:
                self._upcoming.cancel()
                await asyncio.gather(self._upcoming, return_exceptions=True)

    async def page(self, after: int) -> Page:
        """The page after a position, without events where there are none yet. Raises LogCutShort."""
        upcoming, self._upcoming = self._upcoming, None
        page = await upcoming if upcoming else None
        # Another process may have moved the shard, or somebody may have started it over.
        if page is not None and page.after != after:
            page = None
        if (page is None and self.mark.position <= after) or monotonic() - self._looked_at > _LOOK_AGAIN:
            await self._look(after)
        if page is None:
            page = await self._read(after)
        if not page.is_last:
            self._upcoming = asyncio.create_task(self._read(page.position))
        return page

    async def _look(self, after: int) -> None:
        """Move the mark on. Never while a page is read ahead and its predecessor handled: it is a pipeline, and what else
        is asked over the connection meanwhile would be taken for a part of it.
        """
        self._looked_at = monotonic()
        await self.mark.advance()
        if self.mark.drawn < after:
            raise LogCutShort(
                f"it has come to position {after}, and the log has drawn only {self.mark.drawn}: commits were lost. "
                "Run `counteract store restored` as the owner of the database, and what it says"
            )

    async def _read(self, after: int) -> Page:
        end = self.mark.position
        if end <= after:
            return Page(after, (), after, after)
        page = await read_page(
            self._connection,
            after=after,
            up_to=end,
            limit=self._pace.size,
            event_types=self._event_types,
            vocabulary=self._vocabulary,
            condition=self._condition,
            expects_large=self._is_large,
        )
        self._is_large = page.is_large
        return Page(after, page.events, end if page.is_last else page.events[-1].position, end)
