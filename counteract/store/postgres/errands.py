"""Errands: work that goes to its end even if the task that waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Errands:
    """The errands of one object, which waits for all of them before it ends.

    A task may be cancelled at any `await`. Work that must not stop halfway, such as giving a connection back, runs in a
    task of its own, and the cancelled one merely stops waiting for it.
    """

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end, and return what it returns."""
        task = self._begun(work)
        await asyncio.wait([task])
        return task.result()

    async def run_if_it_waits(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that waits for locks only, and hardly ever: work that is done at once needs no task of its own."""
        try:
            awaited = work.send(None)
        except StopIteration:
            return
        await self.run(_rest(work, awaited))

    async def all_done(self) -> None:
        """Wait until no errand is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _begun(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # The task that waited for it may be gone: then nobody else would ask for its error.
            task.exception()


class _Begun:
    """A coroutine that has run up to its first wait."""

    def __init__(self, work: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._work = work
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        yield self._awaited
        yield from self._work.__await__()


async def _rest(work: Coroutine[Any, Any, None], awaited: Any) -> None:
    await _Begun(work, awaited)
