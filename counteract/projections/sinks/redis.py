"""Rows in Redis, and in servers that speak its protocol, such as Valkey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from counteract.errors import ConfigurationError
from counteract.projections.sinks.layout import Layout, Row
from counteract.projections.sinks.sink import (
    Positioned,
    RowRefused,
    Shown,
    SinkUnavailable,
    missing_extra,
    report_change,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from counteract.projections.projection import Projection

# Writes all of a batch or nothing, and nothing unless all is as it was read: whatever other process writes, what was
# read still holds.
_WRITE = """
local known = redis.call('hmget', KEYS[1], 'made', 'revision')
if known[1] ~= ARGV[1] or known[2] ~= ARGV[2] then return 0 end
redis.call('hincrby', KEYS[1], 'revision', 1)
redis.call('hset', KEYS[1], 'position', ARGV[3], 'event', ARGV[4])
if ARGV[5] ~= '' then redis.call('sadd', KEYS[2], ARGV[5]) end
local at = 6
for key = 3, #KEYS do
    local count = tonumber(ARGV[at])
    redis.call('del', KEYS[key])
    if count > 0 then redis.call('hset', KEYS[key], unpack(ARGV, at + 1, at + count)) end
    at = at + 1 + count
end
return 1
"""
_MAKE = """
if redis.call('exists', KEYS[1]) == 0 then
    redis.call('hset', KEYS[1], 'made', ARGV[1], 'revision', 0, 'position', 0, 'projection', ARGV[2], 'code', ARGV[3])
end
return redis.call('hmget', KEYS[1], 'made', 'projection', 'position', 'code', 'event')
"""
_SECONDS = 5.0
_AT_ONCE = 1000


class _Known(NamedTuple):
    """The contents of Redis when it was read."""

    revision: str
    shown: Shown
    late: frozenset[int]
    rows: Mapping[str, Row | None]


class RedisHashes:
    """A hash for each row, under `prefix` and the row's key; `prefix` must be of this projection alone.

    Each field is JSON text: a number stands as it is (`HGET … total` gives 4200), a string in quotes, a time as a
    string, null as null. `read` gives the row with the types of the columns.

    A batch is one atomic step together with its position, so Redis loses rows and position alike: after it forgot
    everything, or was restored from a copy, it is filled again from where it is. It must not evict keys
    (`maxmemory-policy noeviction`). In a cluster give the prefix a hash tag, `{order-summary}:`. Needs `pip install
    'counteract[redis]'`.
    """

    def __init__(self, server: str | Redis, *, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self._about = f"{prefix}@counteract"
        self._late = f"{prefix}@counteract:late"
        self._made: Redis | None = None
        self._incarnation = ""
        self._shown = 0
        self._layout: Layout | None = None
        self._has_reported = False

    def __repr__(self) -> str:
        return f"Redis, {self._prefix!r}"

    async def prepare(self, layout: Layout, code: str) -> Shown:
        """Read how far the hashes have come; log where other code has made them.

        Raises SinkUnavailable.
        """
        self._layout = layout
        with _translated():
            known = await self._client.eval(_MAKE, 1, self._about, uuid4().hex, layout.name, code)
        made, projection, position, made_by, event = known
        if _text(projection) != layout.name:
            problem = (
                f"the prefix {self._prefix!r} is that of {_text(projection)!r}: give each projection one of its own"
            )
            raise ConfigurationError(f"projection {layout.name!r}", [problem])
        if not self._has_reported:
            self._has_reported = True
            report_change(layout, _text(made_by), code)
        self._incarnation, self._shown = _text(made), int(position)
        return Shown(self._shown, _text(event or ""))

    async def write(self, operations: Sequence[Positioned], *, up_to: Shown) -> None:
        """Bring the hashes up to the operations, each only if these are newer.

        Raises SinkUnavailable, and RowRefused for a row with a key that Redis's own record has.
        """
        await self._write(operations, up_to, is_late=False)

    async def write_late(self, operations: Sequence[Positioned]) -> None:
        """Apply the operations of one event that was parked, on hashes that have gone on since.

        Raises SinkUnavailable, RowRefused.
        """
        if operations:
            await self._write(operations, Shown(operations[0].position), is_late=True)

    async def read(self, projection: Projection, key: Any) -> Row | None:
        """The row of a key; None where there is none."""
        with _translated():
            fields = await self._client.hgetall(self._prefix + projection.layout.id_of(key))
        return _row(projection.layout, fields)

    async def watch(self) -> None:
        """Raises SinkUnavailable where Redis has lost its rows, such as by a restart without persistence."""
        await self._read(self._prepared(), {})

    async def erase(self) -> None:
        """Delete every key under `prefix`."""
        pattern = "".join(f"[{each}]" if each in "*?[" else each for each in self._prefix.replace("\\", "\\\\"))
        with _translated():
            # Removed first, so that a process which still writes notices.
            await self._client.unlink(self._about)
            keys = [key async for key in self._client.scan_iter(f"{pattern}*", count=_AT_ONCE)]
            for start in range(0, len(keys), _AT_ONCE):
                await self._client.unlink(*keys[start : start + _AT_ONCE])

    async def close(self) -> None:
        """Close the client, if it was made here and not given. The sink may be used again."""
        if self._made:
            await self._made.aclose()
            self._made = None

    @property
    def _client(self) -> Redis:
        if not isinstance(self._server, str):
            return self._server
        if self._made is None:
            self._made = _library().asyncio.Redis.from_url(
                self._server, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS
            )
        return self._made

    async def _write(self, operations: Sequence[Positioned], last: Shown, *, is_late: bool) -> None:
        layout = self._prepared()
        by_row: dict[str, list[Positioned]] = {}
        for each in operations:
            by_row.setdefault(self._free(layout.id_of(each.operation.key)), []).append(each)
        while True:
            known = await self._read(layout, by_row)
            if last.position in known.late if is_late else last.position <= known.shown.position:
                self._shown = max(self._shown, known.shown.position)
                return
            rows = {
                row: layout.applied(known.rows[row], [op for position, op in all_ if _is_new(position, known, is_late)])
                for row, all_ in by_row.items()
            }
            shown = known.shown if is_late else last
            if await self._replace(layout, known, rows, shown, late=str(last.position) if is_late else ""):
                self._shown = shown.position
                return

    def _free(self, row: str) -> str:
        if self._prefix + row in (self._about, self._late):
            raise RowRefused(f"{self._prefix + row} is the key under which Redis has what it shows: no row can have it")
        return row

    async def _read(self, layout: Layout, by_row: Mapping[str, Sequence[Positioned]]) -> _Known:
        with _translated():
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hmget(self._about, "made", "revision", "position", "event")
                pipeline.smembers(self._late)
                for row in by_row:
                    pipeline.hgetall(self._prefix + row)
                (made, revision, position, event), late, *found = await pipeline.execute()
        if made is None or _text(made) != self._incarnation or int(position) < self._shown:
            raise SinkUnavailable("Redis has lost rows: they are made anew from the events")
        rows = {row: _row(layout, fields) for row, fields in zip(by_row, found, strict=True)}
        shown = Shown(int(position), _text(event or ""))
        return _Known(_text(revision), shown, frozenset(map(int, late)), rows)

    async def _replace(
        self, layout: Layout, known: _Known, rows: Mapping[str, Row | None], shown: Shown, *, late: str
    ) -> bool:
        keys = [self._about, self._late, *(self._prefix + row for row in rows)]
        arguments: list[str | bytes] = [self._incarnation, known.revision, str(shown.position), shown.event_id, late]
        for row in rows.values():
            fields = [word for pair in layout.to_json(row).items() for word in pair] if row else []
            arguments += [str(len(fields)), *fields]
        with _translated():
            return bool(await self._client.eval(_WRITE, len(keys), *keys, *arguments))

    def _prepared(self) -> Layout:
        if self._layout is None:
            raise RuntimeError("prepare() comes before the first batch")
        return self._layout


def _is_new(position: int, known: _Known, is_late: bool) -> bool:
    return is_late or (position > known.shown.position and position not in known.late)


def _row(layout: Layout, fields: Mapping[bytes | str, bytes | str]) -> Row | None:
    return layout.from_json({_text(name): text for name, text in fields.items()}) if fields else None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _library() -> Any:
    try:
        import redis.asyncio
    except ModuleNotFoundError as error:
        raise missing_extra("redis", error) from error
    return redis


@contextmanager
def _translated() -> Iterator[None]:
    error_of_redis = _library().RedisError
    try:
        yield
    except error_of_redis as error:
        # No event is to blame: the texts that are written are our own, whatever the row.
        raise SinkUnavailable(f"Redis: {error}") from error
