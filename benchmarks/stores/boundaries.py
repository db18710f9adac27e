"""Decisions by what a query finds: a name that nobody has, and a place in a course that has some left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any
from uuid import uuid4

from benchmarks.stores.workload import EVENT, Answer

PLACES = 25
"""The places in a course: all writers want the same one, until it is full."""
NOTE = EVENT.note


def subjects(what: str) -> Iterator[str]:
    """The subjects of decisions, for all writers together: a name for each, or one course for PLACES of them."""
    run = uuid4().hex
    for number in count():
        yield f"{what}:{run}:{number if what == 'name' else number // PLACES}"


async def decided(decide: Callable[[str], Awaitable[Any]], *, what: str, writers: int, decisions: int) -> Answer:
    """Make the decisions, in so many tasks at once."""
    wanted, each = subjects(what), list[float]()

    async def writer() -> None:
        for _ in range(decisions // writers):
            began = time.perf_counter()
            await decide(next(wanted))
            each.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(writers)))
    return {"elapsed": time.perf_counter() - began, "each": each}


def decided_by_threads(decide: Callable[[str], Any], *, what: str, writers: int, decisions: int) -> Answer:
    wanted, each = subjects(what), list[float]()
    numbered = {number: next(wanted) for number in range(decisions)}

    def writer(first: int) -> None:
        for number in range(first, decisions - decisions % writers, writers):
            began = time.perf_counter()
            decide(numbered[number])
            each.append(time.perf_counter() - began)

    with ThreadPoolExecutor(writers) as pool:
        began = time.perf_counter()
        list(pool.map(writer, range(writers)))
        return {"elapsed": time.perf_counter() - began, "each": each}
