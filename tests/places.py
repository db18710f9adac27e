"""Where a projection's rows may be, other than in PostgreSQL."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, Self

from opensearchpy import AsyncOpenSearch
from redis.asyncio import Redis

from counteract.projections import Projection
from counteract.projections.sinks import OpenSearchIndex, RedisHashes, Sink
from tests.servers import RedisServer, SearchServer

SHORT = 0.3
"""Seconds for one whose server is down to find that out again."""


class Place(Protocol):
    """A server, and what a test asks of it past the sink."""

    def sink(self, name: str) -> Sink: ...

    async def rows(self, projection: Projection, name: str) -> dict[str, dict[str, Any]]: ...

    def kill(self) -> None: ...

    async def start(self) -> None: ...


class InRedis:
    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.kill, self.start = server.kill, server.start

    @classmethod
    @asynccontextmanager
    async def open(cls, *, forgetful: bool = False) -> AsyncIterator[Self]:
        with tempfile.TemporaryDirectory(prefix="counteract-redis-") as folder:
            async with RedisServer.running(Path(folder), forgetful=forgetful) as server:
                yield cls(server)

    def sink(self, name: str) -> RedisHashes:
        return RedisHashes(self._server.url, prefix=f"{name}:")

    async def rows(self, projection: Projection, name: str) -> dict[str, dict[str, Any]]:
        async with Redis.from_url(self._server.url, decode_responses=True) as client:
            keys = [key async for key in client.scan_iter(f"{name}:*") if "@counteract" not in key]
            found = {key: await client.hgetall(key) for key in keys}
        return {key.removeprefix(f"{name}:"): dict(projection.layout.from_json(row)) for key, row in found.items()}

    async def keys(self) -> set[str]:
        async with Redis.from_url(self._server.url, decode_responses=True) as client:
            return set(await client.keys())


class InOpenSearch:
    def __init__(self, server: SearchServer) -> None:
        self._server = server
        self.kill, self.start = server.kill, server.start

    @classmethod
    @asynccontextmanager
    async def open(cls, *, forgetful: bool = True) -> AsyncIterator[Self]:
        assert forgetful, "it has no files"
        async with SearchServer.running() as server:
            yield cls(server)

    def sink(self, name: str) -> OpenSearchIndex:
        return OpenSearchIndex(self._server.url, name=name, refresh="wait_for")

    async def rows(self, projection: Projection, name: str) -> dict[str, dict[str, Any]]:
        async with AsyncOpenSearch(hosts=[self._server.url]) as client:
            await client.indices.refresh(index=name)
            found = await client.search(index=name, body={"query": {"match_all": {}}}, size=1000)
        return {each["_id"]: dict(projection.layout.from_document(each["_source"])) for each in found["hits"]["hits"]}

    async def indices(self) -> set[str]:
        async with AsyncOpenSearch(hosts=[self._server.url]) as client:
            return set(await client.indices.get(index="*"))


PLACES = {"redis": InRedis, "opensearch": InOpenSearch}


@asynccontextmanager
async def opened(sink: Sink) -> AsyncIterator[Sink]:
    """Its connections are given back in the end."""
    async with AsyncExitStack() as last:
        last.push_async_callback(sink.close)
        yield sink


async def soon(condition: Any, *, seconds: float = 20.0) -> None:
    """Return when the condition, a coroutine function, holds."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)
