"""`python -m benchmarks.stores NAME`: one store in a process of its own, driven over its standard input.

A line `{"order": NAME, …}` calls the method of that name, and is answered by what it returns. The end of the input ends
the process: it cannot outlive whoever started it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any


def _on_counteract() -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    from benchmarks.stores.on_counteract import OnCounteract

    return OnCounteract.running


def _by_hand() -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    from benchmarks.stores.by_hand import ByHand

    return ByHand.running


def _on_eventsourcing(*, functions: bool) -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    from benchmarks.stores.on_eventsourcing import OnEventsourcing

    return partial(OnEventsourcing.running, functions=functions)


# Imported one at a time: each process has in it what it measures, and the peer may not be installed.
STORES: dict[str, Callable[[], Callable[[Any], AbstractAsyncContextManager[Any]]]] = {
    "counteract": _on_counteract,
    "by-hand": _by_hand,
    "eventsourcing": partial(_on_eventsourcing, functions=False),
    "eventsourcing-functions": partial(_on_eventsourcing, functions=True),
}


async def serve(name: str) -> None:
    async with STORES[name]()(os.environ) as store:
        print(json.dumps({"ready": name}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            answer = await getattr(store, order.pop("order"))(**order)
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
