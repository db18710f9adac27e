"""Processes that are killed on purpose, and started again each time after a while."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from os import kill
from pathlib import Path
from typing import Self

from counteract.dev import PartFailed
from counteract.dev.process import GuardedProcess, Launch
from marketplace.chaos.databases import never
from marketplace.chaos.fork_server import ForkedProcess

AWAY = (0.2, 1.5)
"""Seconds for which something that was killed stays away: from and to."""
START_TIMEOUT = 60
"""Seconds for which a process may take to start."""


@dataclass(frozen=True, slots=True)
class Job:
    """The work of one process."""

    name: str
    role: str
    """The role of the process; several may have the same."""
    command: Callable[[random.Random], Sequence[str]]
    """The arguments for Python, chosen anew at each start."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The variables that its environment has beside those of the others."""


class Member:
    """Keeps one process running until it is stopped, however often it is killed."""

    def __init__(self, job: Job, env: Mapping[str, str], logs: Path, dice: random.Random) -> None:
        self.job = job
        self._env = {**env, **job.env}
        self._log = logs / f"{job.name}.log"
        self._dice = dice
        self._process: GuardedProcess | ForkedProcess | None = None
        self._was_ready = False
        self._task: asyncio.Task[None] | None = None
        self._killed = False
        self.own_ends = 0
        """How often it ended by itself, as a program may that cannot start without its database."""

    @property
    def is_ready(self) -> bool:
        """Whether it is up, and not about to be started again."""
        if self._process is None or self._process.has_ended:
            return False
        self._was_ready = self._was_ready or self._process.printed("ready")
        return self._was_ready

    async def start(self) -> None:
        """Return once it says that it is ready. Raises PartFailed: the first start must succeed."""
        await self._launch()
        await self.up()
        self._task = asyncio.create_task(self._keep_up())

    async def up(self) -> None:
        """Return when it is ready: at its first start, or again."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_ready:
            if self._process and self._process.has_ended and not self._task:
                raise PartFailed(self.job.name, f"did not start: {self._process.reason()}")
            if time.monotonic() > deadline:
                raise PartFailed(self.job.name, f"was not ready within {START_TIMEOUT} seconds")
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End the process for good."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._process:
            # One that was frozen could not hear that it is to stop.
            self.send(signal.SIGCONT)
            await self._process.stop()

    def kill(self) -> None:
        self._killed = True
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        if self._process and not self._process.has_ended:
            with suppress(ProcessLookupError):
                kill(self._process.pid, number)

    async def _keep_up(self) -> None:
        while True:
            if self._process:
                await self._process.wait()
            self.own_ends += not self._killed
            self._killed = False
            await asyncio.sleep(self._dice.uniform(*AWAY))
            await self._launch()

    async def _launch(self) -> None:
        command = [sys.executable, *self.job.command(self._dice)]
        launch = Launch(name=self.job.name, command=command, log=self._log, env=self._env)
        self._process = await (ForkedProcess if sys.platform == "linux" else GuardedProcess).start(launch)
        self._was_ready = False


class Fleet:
    """All members, as one part of a Supervisor: their ends are intended, so that it never counts as crashed."""

    def __init__(self, jobs: Sequence[Job], env: Mapping[str, str], logs: Path, seed: int) -> None:
        self._members = [Member(job, env, logs, random.Random(f"{seed} {job.name}")) for job in jobs]  # noqa: S311

    async def __aenter__(self) -> Self:
        try:
            # One after the other: at once they would fight for the processor.
            for member in self._members:
                await member.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(member.stop() for member in self._members))

    def lines(self) -> list[tuple[str, str]]:
        return [("Processes", ", ".join(member.job.name for member in self._members))]

    async def crashed(self) -> PartFailed:
        return await never()

    def of(self, *roles: str) -> list[Member]:
        """The members with one of these roles that are up."""
        return [member for member in self._members if member.job.role in roles and member.is_ready]

    def named(self, name: str) -> Member:
        return next(member for member in self._members if member.job.name == name)

    async def all_up(self) -> None:
        """Return when every member is ready again."""
        await asyncio.gather(*(member.up() for member in self._members))

    def own_ends(self) -> Counter[str]:
        return Counter({member.job.name: member.own_ends for member in self._members if member.own_ends})
