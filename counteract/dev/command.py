"""A part that is any command: a worker, a projection runner, a provider to test against."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
import urllib.request
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Self

from counteract.dev.config import expand, with_settings
from counteract.dev.errors import PartFailed
from counteract.dev.process import GuardedProcess, Launch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from counteract.dev.config import PartSettings
    from counteract.dev.state import StateFolder

# All in seconds.
START_TIMEOUT = 60
RESTART_DELAY = 1
_RESTART_WINDOW = 60
_RESTARTS = 5


class CommandPart:
    """A command of `[tool.counteract.dev]`, run with `variables` and its own environment, logging to a file in `logs`.

    It is up when its `ready` address answers or its `ready` text has been printed; without one, once it runs.
    """

    def __init__(
        self,
        settings: PartSettings,
        variables: Mapping[str, str],
        logs: StateFolder,
        *,
        say: Callable[[str], None] = print,
    ) -> None:
        env = with_settings(variables, settings.env)
        self._name = settings.name
        self._restart = settings.restart
        self._ready = expand(settings.ready, env)
        self._say = say
        self._restarts: deque[float] = deque(maxlen=_RESTARTS)
        self._launch = Launch(
            name=settings.name,
            command=[expand(word, env) for word in settings.command],
            log=logs.path / f"{re.sub('[^a-z0-9]+', '-', settings.name.lower())}.log",
            # `python` and whatever is installed beside it are those of this environment, activated or not.
            env=env | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"},
            remove=logs.remove,
        )

    async def __aenter__(self) -> Self:
        self._process = await GuardedProcess.start(self._launch)
        try:
            await self._get_ready()
        except BaseException:
            await self._process.stop()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._process.stop()

    def lines(self) -> list[tuple[str, str]]:
        """Its name, and its address or the number of its process."""
        return [(self._name, self._ready if self._is_address else f"process {self._process.pid}")]

    async def crashed(self) -> PartFailed:
        """Return when the command has ended for good; one killed by a signal is first given its restarts."""
        while True:
            code = await self._process.wait()
            if code >= 0 or not self._restart or self._restarted_too_often():
                return self._process.crashed()
            self._restarts.append(time.monotonic())
            await asyncio.sleep(RESTART_DELAY)
            self._process = await GuardedProcess.start(self._launch)
            self._say(f"{self._name:<18} restarted: process {self._process.pid}")

    def _restarted_too_often(self) -> bool:
        return len(self._restarts) == _RESTARTS and time.monotonic() - self._restarts[0] < _RESTART_WINDOW

    async def _get_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while self._ready and not await self._is_ready():
            if time.monotonic() > deadline:
                raise PartFailed(self._name, f"was not ready within {START_TIMEOUT} seconds")
            await asyncio.sleep(0.05)

    async def _is_ready(self) -> bool:
        if self._process.has_ended:
            raise PartFailed(self._name, f"did not start: {self._process.explanation()}")
        if self._is_address:
            return await asyncio.to_thread(_answers, self._ready)
        return self._process.printed(self._ready)

    @property
    def _is_address(self) -> bool:
        return self._ready.startswith(("http://", "https://"))


def _answers(address: str) -> bool:
    # An address from the developer's own settings, which _is_address has seen to be of the web.
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=1):  # noqa: S310
        return True
    return False
