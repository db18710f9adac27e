"""Loads: streams folded into states, from the newest known state on, be it in memory, in a snapshot, or the initial
one.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from counteract.decider import Decider
from counteract.decoding import decode_event
from counteract.errors import UndecodableEvent
from counteract.messages import Event, StreamId
from counteract.store.boxes import Place
from counteract.store.limits import check_stream
from counteract.store.port import Loaded
from counteract.store.postgres.archived import is_archived_up_to, raise_missing
from counteract.store.postgres.connect import Connection
from counteract.store.postgres.snapshots import SnapshotForm, holds_personal_data, keep_snapshot, snapshot_form
from counteract.store.postgres.vault import Vault
from counteract.store.stored import PAGE_BYTES, weight_of

S = TypeVar("S")
E = TypeVar("E", bound=Event)

_logger = logging.getLogger("counteract.store")

PAGE = 1000
"""The most events in memory at once, however long the stream is; fewer, where they are large (PAGE_BYTES)."""
_KEPT_BYTES = 64 * 1024 * 1024
"""The most bytes of all states in memory, counted by the text that they come from: their own size is not known."""
_LARGEST_SHARE = 4
"""One state counts for at most this part of `_KEPT_BYTES`.

Without snapshots the text is a whole stream's, however small the state, and such a state would be in memory alone.
"""
_NEWEST = 2**31 - 1

# Paged by version and not by a cursor: a stream only grows, so pages fit together without a transaction that stays open
# over them, and a short stream takes one round trip. A snapshot of other code is passed over. The last event known
# comes along, without its data: its id tells whether what is known is of this log. A large event comes without its
# data, too.
_PAGE_QUERY = f"""
    with snapshot as (
        select version, state, encode(signature, 'hex') as signature from snapshots
        where aggregate_type = %(type)s and aggregate_id = %(id)s and fingerprint = %(fingerprint)s
          and version > %(after)s and version <= %(up_to)s
    )
    (select version, null as event_type, null as schema_version, state as data, signature as event_id from snapshot)
    union all
    (select version, event_type, schema_version,
            case when version > greatest(%(after)s, (select version from snapshot)) and {weight_of("event_data")} <= {PAGE_BYTES // PAGE}
                 then event_data::text end,
            event_id::text
     from events
     where aggregate_type = %(type)s and aggregate_id = %(id)s
       and version >= greatest(%(after)s, (select version from snapshot)) and version <= %(up_to)s
     order by version limit %(limit)s)
    order by version, event_type nulls first
"""  # noqa: S608 - constants
# For pages with large events: as many events as are PAGE_BYTES, but always one. They are weighed by version and fetched
# afterwards, so that what is not of the page is never unpacked. The last event known weighs nothing.
_LARGE_QUERY = f"""
    select version, event_type, schema_version, case when version > %(after)s then event_data::text end, event_id::text, bytes
    from (
        select position, weight, sum(weight) over (order by version rows unbounded preceding) as bytes
        from (
            select position, version, case when version > %(after)s then {weight_of("event_data")} else 0 end as weight from events
            where aggregate_type = %(type)s and aggregate_id = %(id)s and version >= %(after)s and version <= %(up_to)s
            order by version limit %(limit)s
        ) as page
    ) as weighed join events using (position) where bytes - weight < {PAGE_BYTES} order by version
"""  # noqa: S608 - constants

Row = Sequence[Any]
_VERSION, _TYPE, _SCHEMA, _DATA, _ID, _BYTES = range(6)


class Known(NamedTuple):
    """A known state, to go on from."""

    state: Any
    version: int
    snapshot_version: int
    """The version of the newest snapshot seen; 0 if there was none."""
    event_id: str | None = None
    """The id of the event with that version; None where it was not seen."""
    bytes: int = 0
    """The size of the text that the state comes from: the newest snapshot, and the events after it."""


class Memory:
    """The states that this process folded last.

    A failover or a restore may lose commits, so each state is compared with the log when it is gone on from.
    """

    def __init__(self, size: int, most_bytes: int = _KEPT_BYTES) -> None:
        self._size = size
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: OrderedDict[tuple[Decider[Any, Any], str], Known] = OrderedDict()

    def find(self, decider: Decider[Any, Any], aggregate_id: str) -> Known | None:
        """The state known for an aggregate, if any."""
        key = (decider, aggregate_id)
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key)

    def keep(self, decider: Decider[Any, Any], aggregate_id: str, known: Known) -> None:
        """Keep a state, unless an overtaking load has kept a newer one."""
        before = self.find(decider, aggregate_id)
        if before is None or before.version <= known.version:
            self._known[decider, aggregate_id] = known
            self._bytes += self._counted(known) - (self._counted(before) if before else 0)
        while len(self._known) > self._size or (self._bytes > self._most_bytes and len(self._known) > 1):
            self._bytes -= self._counted(self._known.popitem(last=False)[1])

    def drop(self, decider: Decider[Any, Any], aggregate_id: str) -> None:
        """Forget a state that is not of this log."""
        if known := self._known.pop((decider, aggregate_id), None):
            self._bytes -= self._counted(known)

    def _counted(self, known: Known) -> int:
        return min(known.bytes, self._most_bytes // _LARGEST_SHARE)


@dataclass(frozen=True, slots=True)
class Loading:
    """The way in which one event store loads."""

    memory: Memory
    vault: Vault
    snapshot_every: int
    """The number of events since the last snapshot after which a new one is kept; 0: never."""

    def begin(self, decider: Decider[S, E], aggregate_id: str, *, up_to: int = _NEWEST) -> Fold[S, E]:
        """A fold up to a version, by default to the newest. Raises InvalidEvent for an impossible id."""
        stream = decider.stream(aggregate_id)
        check_stream(stream)
        known = self.memory.find(decider, aggregate_id)
        if known is None or known.version > up_to:
            known = Known(decider.initial, 0, 0)
        return Fold(self, decider, stream, known, up_to)

    def form_of(self, decider: Decider[S, Any]) -> SnapshotForm[S] | None:
        """The form in which the decider's states are kept; None where no snapshots are used."""
        return snapshot_form(decider) if self.snapshot_every else None


class Fold(Generic[S, E]):
    """One aggregate being loaded.

    The caller may fetch the first page itself, by `query` and `parameters`, with other statements in the same round
    trip.
    """

    query = _PAGE_QUERY

    def __init__(self, loading: Loading, decider: Decider[S, E], stream: StreamId, start: Known, up_to: int) -> None:
        self._loading = loading
        self._decider = decider
        self._stream = stream
        self._known = start
        self._up_to = up_to
        self._form = loading.form_of(decider)
        self._is_large = self._is_last = self._distrusts = False

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of `query` for the next page."""
        return {
            "type": self._stream.aggregate_type,
            "id": self._stream.aggregate_id,
            "fingerprint": self._form.fingerprint if self._form and not self._distrusts else "",
            "after": self._known.version,
            "up_to": self._up_to,
            "limit": PAGE,
        }

    async def run(self, connection: Connection) -> Loaded[S]:
        """Fetch and fold everything. Raises UnknownEventType, UnreadableEvent, PersonalDataLocked, StreamArchived."""
        return await self.finish(connection, await self._page(connection))

    async def finish(self, connection: Connection, rows: Sequence[Row]) -> Loaded[S]:
        """Go on from the rows of the first page. Raises as `run`."""
        await self._add(connection, await self._events(connection, rows))
        while not self._is_last:
            await self._add(connection, await self._events(connection, await self._page(connection)))
        if self._up_to == _NEWEST:
            await self._keep(connection)
        return Loaded(self._known.state, self._known.version, self._stream)

    async def _page(self, connection: Connection) -> Sequence[Row]:
        query = _LARGE_QUERY if self._is_large else self.query
        return await (await connection.execute(query, self.parameters)).fetchall()

    async def _events(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Row]:
        """The events of a page that are to be folded, after the snapshot and the event that it goes on from."""
        self._is_last = len(rows) < PAGE and not (self._is_large and rows and rows[-1][_BYTES] >= PAGE_BYTES)
        if rows and rows[0][_TYPE] is None and not self._go_on_from(rows[0]):
            return await self._anew(connection)
        rows = [row for row in rows if row[_TYPE] is not None]
        if not self._known.version:
            return self._small(rows)
        if rows and rows[0][_VERSION] == self._known.version:
            if self._known.event_id not in (None, rows[0][_ID]):
                return await self._anew(connection)
            self._known = self._known._replace(event_id=rows[0][_ID])
            return self._small(rows[1:])
        if await is_archived_up_to(connection, self._stream, self._known.version):
            return self._small(rows)
        self._form = None
        return await self._anew(connection)

    def _small(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The events before the first that came without its data, because it is large. Such events come with the next
        pages.
        """
        data = [row[_DATA] for row in rows]
        if None not in data:
            return rows
        self._is_large, self._is_last = True, False
        return rows[: data.index(None)]

    def _go_on_from(self, snapshot: Row) -> bool:
        """Take the snapshot's state; False if it cannot be read, or is not one of ours."""
        version, text = snapshot[_VERSION], snapshot[_DATA]
        try:
            if not self._is_ours(version, text, snapshot[_ID]):
                raise ValueError
            self._known = Known(self._form and self._form.load(text), version, version, bytes=len(text))
        except ValueError:
            _logger.warning(
                "a snapshot of %r cannot be read, or has no signature of ours, and is left aside",
                self._stream.aggregate_type,
            )
            self._distrusts = True
            return False
        return True

    def _is_ours(self, version: int, text: str, signed: str | None) -> bool:
        """Whether we have signed the snapshot. Without a master key nothing tells, and the role that may append is
        believed.
        """
        signature = self._loading.vault.signature
        if signature is None or self._form is None:
            return True
        return signature.is_ours(bytes.fromhex(signed or ""), *self._stream, self._form.fingerprint, version, text)

    async def _anew(self, connection: Connection) -> Sequence[Row]:
        """Begin again from the initial state, or a snapshot that can be read: the log does not have
        all that was known.
        """
        self._loading.memory.drop(self._decider, self._stream.aggregate_id)
        self._known = Known(self._decider.initial, 0, 0)
        self._is_large = False
        return await self._events(connection, await self._page(connection))

    async def _add(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Fold a page's events."""
        if not rows:
            return
        state, version, snapshot_version, _, size = self._known
        if rows[-1][_VERSION] != version + len(rows):
            await raise_missing(connection, self._stream, version)

        def place_of(number: int) -> Place:
            return Place(self._stream, UUID(rows[number][_ID]), rows[number][_TYPE])

        data = await self._loading.vault.opened(connection, [row[_DATA] for row in rows], place_of)
        for (version, event_type, schema_version, *_), text in zip(rows, data, strict=True):
            try:
                event = decode_event(self._decider.readers, event_type, schema_version, text)
            except UndecodableEvent as error:
                raise error.at(self._stream, version) from None
            state = self._decider.evolve(state, event)
        size += sum(map(len, data))
        self._known = Known(state, version, snapshot_version, rows[-1][_ID], size)

    async def _keep(self, connection: Connection) -> None:
        """Keep the state for the next load: in memory, and as a snapshot when the last one has fallen behind."""
        if holds_personal_data(self._decider):
            return
        state, version, snapshot_version, *_ = self._known
        if self._form and version - snapshot_version >= self._loading.snapshot_every:
            size = await keep_snapshot(
                connection,
                self._form,
                self._stream,
                version,
                state,
                signature=self._loading.vault.signature,
                instead=self._distrusts,
            )
            self._known = self._known._replace(snapshot_version=version, bytes=size or self._known.bytes)
        if version:
            self._loading.memory.keep(self._decider, self._stream.aggregate_id, self._known)
