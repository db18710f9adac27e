"""Reactions that run beside a test, and events for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from temporalio.client import Client

from counteract.reactions import Reaction, ReactionRunner
from counteract.store import ANY
from tests.counters import Counted, counter
from tests.travel.world import World

PATIENCE = 20.0


@asynccontextmanager
async def running(url: str, client: Client, *reactions: Reaction) -> AsyncIterator[None]:
    task = asyncio.create_task(ReactionRunner(url, client, reactions).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110 - what is waited for happens in a database
            await asyncio.sleep(0.02)


async def count(world: World, stream: str = "one", amount: int = 1) -> UUID:
    """The id of the event that says so."""
    await world.store.append(counter(stream), [Counted(amount=amount)], expect=ANY)
    return (await world.store.read_stream(counter(stream)))[-1].event_id
