"""The limit: what the same table bears from statements written by hand, one round trip each, without a library between.

Nothing is checked but the version, and ids that are sent again are not recognised.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from uuid_utils.compat import uuid7

from benchmarks.stores.projection_by_hand import project
from benchmarks.stores.workload import (
    CATEGORY,
    EVENT,
    METADATA,
    PAGE,
    POOL_SIZE,
    Answer,
    Deposited,
    chosen,
    repeated,
    streams,
    written,
)

_COLUMNS = "event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata"
_CURRENT = (
    f"(select coalesce(max(version), 0) from events where aggregate_type = '{CATEGORY}' and aggregate_id = %(id)s)"
)
_INSERT_ONE = f"""
    insert into events ({_COLUMNS})
    select %(event_id)s::uuid, '{CATEGORY}', %(id)s, %(version)s::integer + 1, '{Deposited.event_type}', 1,
           %(data)s::jsonb, %(metadata)s::jsonb
    where {_CURRENT} = %(version)s::integer
    returning position
"""
_INSERT_MANY = f"""
    insert into events ({_COLUMNS})
    select given.event_id, '{CATEGORY}', %(id)s, %(version)s::integer + given.number, '{Deposited.event_type}', 1,
           given.data, %(metadata)s::jsonb
    from unnest(%(event_ids)s::uuid[], %(data)s::jsonb[]) with ordinality as given (event_id, data, number)
    where {_CURRENT} = %(version)s::integer
    order by given.number
    returning position
"""
_SELECT = (
    "select version, event_data::text from events where aggregate_type = %s and aggregate_id = %s order by version"
)
_PAGE = f"""
    select event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data::text, metadata::text,
           position, created_at
    from events where position > %s order by position limit {PAGE}
"""

_OPTIONS: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0}
_DATA = EVENT.model_dump()


class ByHand:
    def __init__(self, url: str, owner_url: str) -> None:
        self._url = url
        self._owner_url = owner_url
        self._streams: dict[int, list[str]] = {}

    @classmethod
    @asynccontextmanager
    async def running(cls, env: Any) -> AsyncIterator[ByHand]:
        yield cls(env["DATABASE_URL"], env["OWNER_URL"])

    async def append(self, *, writers: int, events: int, appends: int) -> Answer:
        async with AsyncConnectionPool(self._owner_url, max_size=POOL_SIZE, kwargs=_OPTIONS) as pool:

            async def write(stream: UUID, version: int) -> None:
                async with pool.connection() as connection:
                    await _append(connection, str(stream), version, events)

            await written(write, writers=writers, events=events, appends=20 * writers)
            return await written(write, writers=writers, events=events, appends=appends)

    async def project(self) -> Answer:
        return await project(self._owner_url)

    async def choose(self, *, number: int, events: int) -> None:
        self._streams[events] = await chosen(self._url, number, events)

    async def load(self, *, events: int, loads: int) -> Answer:
        names = cycle(self._streams[events])
        async with await _connect(self._url) as connection:

            async def load() -> None:
                rows = await (await connection.execute(_SELECT, (CATEGORY, next(names)))).fetchall()
                balance = 0
                for _, data in rows:
                    balance += json.loads(data)["amount"]
                assert (rows[-1][0], balance) == (events, events * EVENT.amount)

            await repeated(load, len(self._streams[events]))
            return await repeated(load, loads)

    async def read(self) -> Answer:
        async with await _connect(self._url) as connection:
            began, count, after = time.perf_counter(), 0, 0
            while rows := await (await connection.execute(_PAGE, (after,))).fetchall():
                count += len(rows)
                after = rows[-1][-2]
            return {"elapsed": time.perf_counter() - began, "each": [], "count": count}

    async def bulk(self, *, number: int, events: int) -> Answer:
        """Import rows that are text already."""
        rows = [_text_row(stream, version) for stream, version in streams(number, events)]
        async with await _connect(self._owner_url) as connection:
            began = time.perf_counter()
            for start in range(0, len(rows), 20_000):
                async with connection.cursor() as cursor, cursor.copy(f"copy events ({_COLUMNS}) from stdin") as copy:
                    for first in range(start, min(start + 20_000, len(rows)), 500):
                        await copy.write(b"".join(rows[first : first + 500]))
            return {"elapsed": time.perf_counter() - began, "each": [], "count": len(rows)}


async def _connect(url: str) -> AsyncConnection[Any]:
    return await AsyncConnection.connect(url, **_OPTIONS)


async def _append(connection: AsyncConnection[Any], stream: str, version: int, events: int) -> None:
    about = {"id": stream, "version": version, "metadata": json.dumps(METADATA)}
    if events == 1:
        one = about | {"event_id": uuid7(), "data": json.dumps(_DATA)}
        cursor = await connection.execute(_INSERT_ONE, one)
    else:
        many = about | {"event_ids": [uuid7() for _ in range(events)], "data": [json.dumps(_DATA)] * events}
        cursor = await connection.execute(_INSERT_MANY, many)
    assert len(await cursor.fetchall()) == events


def _text_row(stream: UUID, version: int) -> bytes:
    fields = (uuid7(), CATEGORY, stream, version, Deposited.event_type, 1, json.dumps(_DATA), json.dumps(METADATA))
    return "\t".join(map(str, fields)).encode() + b"\n"
