"""The subscriber that brings a projection's operations to its sink."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import UpdateBase

from counteract.errors import LogCutShort, RowsLost
from counteract.projections.sinks.sink import Positioned, Shown, Sink
from counteract.store import StoredEvent
from counteract.subscriptions import Subscriber

if TYPE_CHECKING:
    from counteract.projections.projection import Projection

_POSITION = text("select coalesce(min(position), 0) from subscriptions where name = :name")
# An event that is archived is no longer there to be compared.
_IS_OF_THE_LOG = text("""
    select exists (select from events where position = :position and event_id = cast(:event_id as uuid))
           or exists (select from archived_streams where :position between first_position and last_position)
""")
# The sink never had parked events.
_GO_BACK = text("""
    update subscriptions set position = :to, epoch = epoch + 1, updated_at = clock_timestamp()
    where name = :name and position > :to and exists (
        select from events
        where events.position > :to and events.position <= subscriptions.position and event_type = any (:types)
          and not exists (select from parked_events where subscription = :name and parked_events.position = events.position)
    )
    returning position
""")
# Looks over all events since, which may be most of the log. Both limits are the subscription's.
_UNLIMITED = text("""
    select set_config(name, '0', true) from pg_settings where name in ('statement_timeout', 'transaction_timeout')
""")
# A process that has locked the row delivers, or goes back: then there is no hurry.
_LOCK = text("select position from subscriptions where name = :name for update skip locked")
_NEWEST = text("select position, event_id from events where position <= :position order by position desc limit 1")
_ARCHIVED = text("""
    select count(*), (array_agg(distinct file order by file))[1:3] from archived_streams
    where last_position > :shown and first_position <= :position
""")

_logger = logging.getLogger("counteract.projections")


class SinkSubscriber(Subscriber):
    """Writes operations with their positions to a sink, a batch at a time."""

    is_elsewhere = True

    def __init__(self, projection: Projection, sink: Sink) -> None:
        self.name = projection.name
        self.event_types = projection.decoder.event_types
        self.vocabulary = projection.vocabulary
        self._projection = projection
        self._sink = sink
        self._has_warned = False

    async def prepare(self, connection: AsyncConnection) -> None:
        """Go back to where the sink is, if it has lost rows.

        Raises RowsLost where the log does not have all of their events, LogCutShort where it lacks the event that the
        sink shows.
        """
        # Asked first, so that the work of another process meanwhile is not taken for a loss.
        position = (await connection.execute(_POSITION, {"name": self.name})).scalar_one()
        shown = await self._sink.prepare(self._projection.layout, self._projection.fingerprint)
        if shown is None:
            return
        if shown.event_id and not (await connection.execute(_IS_OF_THE_LOG, shown._asdict())).scalar_one():
            raise LogCutShort(
                f"{self._sink} shows the event {shown.event_id} at position {shown.position}, which the log does not have: commits "
                f"were lost. Stop whatever runs {self.name!r}, `counteract projections drop {self.name}`, and it is filled anew"
            )
        if shown.position < position:
            await self._look_for_lost(connection, shown.position, position)

    async def _look_for_lost(self, connection: AsyncConnection, shown: int, position: int) -> None:
        values = {"name": self.name, "to": shown, "types": sorted(self.event_types or ())}
        await connection.execute(_UNLIMITED)
        has_lost = (await connection.execute(_GO_BACK, values)).first() is not None
        are_archived = await self._look_for_archived(connection, shown, position, has_lost=has_lost)
        # Nobody could tell afterwards what a sink without rows may have had.
        if not has_lost and (shown or not are_archived):
            await self._pass_over(connection, shown, position)

    async def _pass_over(self, connection: AsyncConnection, shown: int, position: int) -> None:
        """Record that the events up to here have nothing for the rows, so that the next look begins behind them.

        The sink gets the id of an event there, which tells whether it is of this log.
        """
        checkpoint = (await connection.execute(_LOCK, {"name": self.name})).scalar()
        if checkpoint is None or checkpoint < position:
            return
        newest = (await connection.execute(_NEWEST, {"position": position})).first()
        if newest and newest.position > shown:
            await self._sink.write([], up_to=Shown(newest.position, str(newest.event_id)))

    async def _look_for_archived(
        self, connection: AsyncConnection, shown: int, position: int, *, has_lost: bool
    ) -> bool:
        """Whether any events in between are archived. Raises RowsLost where rows of them may be missing.

        Rows without the archived events must not pass for all. Which events those were, only their files say: a sink
        that is behind, and shows every event that is in the log, may never have had any of them.
        """
        between = {"shown": shown, "position": position}
        count, files = (await connection.execute(_ARCHIVED, between)).one()
        if not count:
            return False
        archived = f"streams with events up to position {position} were archived ({count})"
        restore = " and ".join(f"`counteract store restore {each}`" for each in files)
        anew = f"stop whatever runs {self.name!r}, and `counteract projections drop {self.name}`"
        if has_lost:
            raise RowsLost(
                f"{self._sink} has lost what came after position {shown}, and {archived}: {restore} (`archived_streams` names all "
                f"files), and it is filled anew. To have it filled without them, {anew}"
            )
        if not shown and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "projection %r: %s shows no event, and %s. If it had rows of them, they are lost: %s; then %s, and it is filled anew",
                self.name,
                self._sink,
                archived,
                restore,
                anew,
            )
        return True

    async def watch(self) -> None:
        """Look after the sink's rows. Raises SinkUnavailable if some are lost."""
        await self._sink.watch()

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        """Write the operations of a batch."""
        # All handlers run first: a batch that cannot be handled leaves nothing behind.
        await self._sink.write(
            list(self._operations(events)), up_to=Shown(events[-1].position, str(events[-1].event_id))
        )

    async def redrive(self, event: StoredEvent, connection: AsyncConnection) -> None:
        """Write the operations of one event that was parked."""
        await self._sink.write_late(list(self._operations([event])))

    def _operations(self, events: Sequence[StoredEvent]) -> Iterator[Positioned]:
        decoder = self._projection.decoder
        for event in events:
            effects = () if decoder.passes_by(event) else self._projection.operations(decoder.decode(event))
            for effect in effects:
                if isinstance(effect, UpdateBase):
                    raise TypeError("operations() refuses statements where there is a sink")
                yield Positioned(event.position, effect)
