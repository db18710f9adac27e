"""Notifications that wake subscribers soon after an append, outside its transaction."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

import psycopg

from counteract.store.postgres.connect import connect

_logger = logging.getLogger("counteract.store")

_GATHER_SECONDS = 0.005
_RECONNECT_SECONDS = 1.0


class Notifier:
    """Sends one NOTIFY for all appends of a few milliseconds, on a connection of its own.

    Within the append's transaction it would make all commits of the database take turns. A notification that gets lost
    costs subscribers a little time and nothing else: they poll as well.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._wanted = asyncio.Event()
        self._complained = False

    @classmethod
    @asynccontextmanager
    async def running(cls, url: str) -> AsyncIterator[Self]:
        """A notifier that works until the end of the context."""
        notifier = cls(url)
        task = asyncio.create_task(notifier._run(), name="counteract-notifier")
        try:
            yield notifier
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def notify(self) -> None:
        """Ask for a notification, without waiting for it."""
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                async with await connect(self._url) as connection:
                    self._complained = False
                    while True:
                        await self._wanted.wait()
                        await asyncio.sleep(_GATHER_SECONDS)
                        self._wanted.clear()
                        await connection.execute(f"notify {connection.store.channel}")
            except psycopg.Error as error:
                self._complain(error)
                await asyncio.sleep(random.uniform(_RECONNECT_SECONDS / 2, _RECONNECT_SECONDS))  # noqa: S311 - jitter, no secret

    def _complain(self, error: psycopg.Error) -> None:
        if not self._complained:
            _logger.warning("subscribers are not notified and go by polling alone until this ends: %s", error)
        self._complained = True
