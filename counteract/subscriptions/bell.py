"""A signal to all tasks that wait for it, which none misses for not having waited just then."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """Counts how often it has rung, so that a task can wait for more than it has seen."""

    def __init__(self) -> None:
        self.count = 0
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Wake all tasks that wait."""
        self.count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def heard(self, since: int, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - running out is no error
        """Return once it has rung more than `since` times, or after `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.count == since:
                    await self._next.wait()
