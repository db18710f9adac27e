"""Waiting in a workflow so that nothing is left running and no cancellation is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from temporalio import workflow

T = TypeVar("T")

AT_ONCE = 100
"""Steps that a saga has in flight at once, by default.

The server takes no more than 2000 activities of one workflow, and the SDK no task that keeps a worker for two seconds:
on a busy machine that is some hundreds."""


async def settled(tasks: Sequence[asyncio.Task[T]], *, cancel: bool) -> list[T]:
    """The results, once all tasks have ended; raises the first failure after the last of them has ended.

    With `cancel`, at the first failure, or when cancelled itself, it asks the other tasks to stop. Cancellation is
    raised only once all have ended, so that what they did is known.
    """
    cancelled, first = False, None
    while pending := [task for task in tasks if not task.done()]:
        try:
            # Once one has failed, there is nothing to be done at the next failure.
            await workflow.wait(pending, return_when=asyncio.ALL_COMPLETED if first else asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            cancelled = True
        first = first or next(filter(_failed, tasks), None)
        if cancel and (cancelled or first):
            for task in pending:
                task.cancel()
    if cancelled:
        raise asyncio.CancelledError
    first = first or next(filter(_failed, tasks), None)
    if first:
        first.result()
    return [task.result() for task in tasks]


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, whatever cancellation arrives meanwhile, and return its result.

    `asyncio.shield` would leave it running unattended. An evicted workflow has all its tasks cancelled, this one too.
    """
    task = asyncio.create_task(work)
    try:
        return (await settled([task], cancel=False))[0]
    except asyncio.CancelledError:
        return task.result()


async def at_most(limit: int, works: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """Run all to their end, `limit` at once, and return their results.

    Raises the first one's error after the last has ended.
    """
    gate = asyncio.Semaphore(limit)

    async def passed(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        await gate.acquire()
        with afterwards(gate.release):
            # Made here: one that an evicted workflow never came to would be complained about.
            return await work()

    return await settled([asyncio.create_task(passed(work)) for work in works], cancel=False)


async def in_a_task_of_its_own() -> None:
    """Have what follows decided in another workflow task.

    That is needed between the answer of a local activity and the request that an activity stop. Where a query comes in
    meanwhile, the SDK gives the answer one task later than when it replays the history. That does no harm to what is
    begun then, but the replay fails at an activity that starts after it was to stop (decision 0104).
    """
    await asyncio.sleep(0.001)


@contextmanager
def afterwards(do: Callable[[], object]) -> Iterator[None]:
    """Call `do` as `finally` would, but not where the coroutine itself is thrown away.

    Then what it waited in was evicted with it, and there is no loop any more that could wake anybody, and no workflow
    that could be shown anew.
    """
    try:
        yield
    except GeneratorExit:
        raise
    except BaseException:
        do()
        raise
    else:
        do()


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
