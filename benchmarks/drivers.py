"""Engines as child processes, and one measurement of one of them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from counteract.dev import PartFailed


@dataclass(frozen=True, slots=True)
class Timing:
    """The duration of something in seconds, and those of its parts where they were timed."""

    elapsed: float
    each: list[float]
    count: int = 0
    """The number of its parts, where they were not timed."""

    @property
    def per_second(self) -> float:
        return (len(self.each) + self.count) / self.elapsed


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine that is up. It ends when its standard input does, and so cannot outlive this process."""

    name: str
    _process: asyncio.subprocess.Process

    async def take(self, **order: Any) -> Timing:
        return Timing(**await self.ask(**order))

    async def ask(self, **order: Any) -> Any:
        if self._process.stdin is None:
            raise PartFailed(self.name, "has no standard input")
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return await self._answer()

    async def ready(self) -> None:
        await self._answer()

    async def stop(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        await self._process.wait()

    async def _answer(self) -> Any:
        line = await self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise PartFailed(self.name, "ended by itself: what it printed stands above")
        return json.loads(line)


@asynccontextmanager
async def engine(name: str, env: Mapping[str, str], *, module: str = "benchmarks.engines") -> AsyncIterator[Engine]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=env,
        # Ctrl-C is for this process, which then ends the others' input.
        start_new_session=True,
        limit=2**24,
    )
    started = Engine(name, process)
    try:
        await started.ready()
        yield started
    finally:
        await started.stop()
