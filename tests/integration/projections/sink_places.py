"""Where a projection's rows may be, other than in PostgreSQL."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, Self, TypeVar

from opensearchpy import AsyncOpenSearch
from redis.asyncio import Redis

from counteract.projections import Projection
from counteract.projections.sinks import OpenSearchIndex, RedisHashes, Sink
from tests.sink_servers import RedisServer, SearchServer

T = TypeVar("T")

PATIENCE = 20.0
_TRIES = 400


class Place(Protocol):
    """A server, and what a test asks of it past the sink."""

    def sink(self, name: str) -> Sink: ...

    async def rows(self, projection: Projection, name: str) -> dict[str, dict[str, Any]]: ...

    async def is_there(self, name: str) -> bool: ...

    def kill(self) -> None: ...

    async def start(self) -> None: ...


class InRedis:
    def __init__(self, server: RedisServer) -> None:
        self.url = server.url
        self.server = server
        self.kill, self.start = server.kill, server.start

    @classmethod
    @asynccontextmanager
    async def open(cls, *, forgetful: bool = False) -> AsyncIterator[Self]:
        with tempfile.TemporaryDirectory(prefix="counteract-redis-") as folder:
            async with RedisServer.running(Path(folder), forgetful=forgetful) as server:
                yield cls(server)

    def sink(self, name: str) -> RedisHashes:
        return RedisHashes(self.url, prefix=f"{name}:")

    async def rows(self, projection: Projection, name: str) -> dict[str, dict[str, Any]]:
        async with Redis.from_url(self.url, decode_responses=True) as client:
            keys = [key async for key in client.scan_iter(f"{name}:*") if "@counteract" not in key]
            found: dict[str, Any] = {str(key): await client.hgetall(key) for key in keys}
        return {key.removeprefix(f"{name}:"): dict(projection.layout.from_json(row)) for key, row in found.items()}

    async def is_there(self, name: str) -> bool:
        return any(key.startswith(f"{name}:") for key in await self.keys())

    async def keys(self) -> set[str]:
        async with Redis.from_url(self.url, decode_responses=True) as client:
            return {str(key) for key in await client.keys()}


class InOpenSearch:
    def __init__(self, server: SearchServer) -> None:
        self.url = server.url
        self.kill, self.start = server.kill, server.start

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        async with SearchServer.running() as server:
            yield cls(server)

    def sink(self, name: str) -> OpenSearchIndex:
        return OpenSearchIndex(self.url, name=name, refresh="wait_for")

    async def rows(self, projection: Projection, name: str) -> dict[str, dict[str, Any]]:
        async with AsyncOpenSearch(hosts=[self.url]) as client:
            await client.indices.refresh(index=name)
            found = await client.search(index=name, body={"query": {"match_all": {}}}, size=1000)
        return {each["_id"]: dict(projection.layout.from_document(each["_source"])) for each in found["hits"]["hits"]}

    async def is_there(self, name: str) -> bool:
        async with AsyncOpenSearch(hosts=[self.url]) as client:
            return bool(await client.indices.exists(index=f"{name}-1"))


def place_of(kind: str) -> AbstractAsyncContextManager[Place]:
    """Of one of KINDS, that forgets all that it has when it is killed."""
    return InRedis.open(forgetful=True) if kind == "redis" else InOpenSearch.open()


KINDS = ("opensearch", "redis")


@asynccontextmanager
async def opened(sink: Sink) -> AsyncIterator[Sink]:
    """Its connections are given back in the end."""
    async with AsyncExitStack() as last:
        last.push_async_callback(sink.close)
        yield sink


async def soon(look: Callable[[], Awaitable[T]], expected: T) -> None:
    """Return once that is what is there."""
    for _ in range(_TRIES):
        with suppress(Exception):
            if await look() == expected:
                return
        await asyncio.sleep(0.05)
    assert await look() == expected


async def eventually(holds: Callable[[], bool]) -> None:
    """Return once it holds."""
    deadline = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < deadline
        await asyncio.sleep(0.05)
