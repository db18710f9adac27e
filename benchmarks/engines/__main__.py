"""`python -m benchmarks.engines NAME`: one engine, worker and client, in a process driven over its standard input.

A line `{"sagas": N, "at_once": N}` runs so many trips and is answered by `{"elapsed": seconds, "each": [seconds, …]}`.
The end of the input ends the process: it cannot outlive whoever started it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

from benchmarks.engines import on_dbos, on_temporal
from benchmarks.engines.runner import Run

Engine = Callable[[], AbstractAsyncContextManager[Run]]

ENGINES: dict[str, Engine] = {
    "counteract": partial(on_temporal.counteract, split=False),
    "counteract-split": partial(on_temporal.counteract, split=True),
    "by-hand": partial(on_temporal.by_hand, split=False),
    "by-hand-split": partial(on_temporal.by_hand, split=True),
    "dbos": on_dbos.running,
}


async def serve(name: str) -> None:
    numbers = itertools.count(1)
    async with ENGINES[name]() as run:
        print(json.dumps({"ready": name}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            names = [f"{name}-{next(numbers)}" for _ in range(order["sagas"])]
            print(json.dumps(await timed(run, names, order["at_once"])), flush=True)


async def timed(run: Run, names: list[str], at_once: int) -> dict[str, object]:
    waiting, each = iter(names), list[float]()

    async def one_after_another() -> None:
        for name in waiting:
            began = time.perf_counter()
            await run(name)
            each.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    return {"elapsed": time.perf_counter() - began, "each": each}


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
    sys.stdout.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(0)
