"""A child process that cannot outlive this one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from counteract.dev.errors import PartCrashed, PartFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GUARD = Path(__file__).with_name("guard.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to run one command: with what, as whom, and how it ends.

    `grace` is in seconds from `stop_signal` to SIGKILL. `user` is a user and group id to change to (needs root).
    `remove` is a folder that goes when this process dies without cleaning up. `keep_open` are file descriptors that
    stay open exactly as long as the command may run: a lock on one of them outlives even a `kill -9` of this process.
    """

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    stop_signal: str = "SIGTERM"
    grace: float = 10
    user: int | None = None
    remove: Path | None = None
    keep_open: Sequence[int] = ()

    def guarded(self) -> list[str]:
        """The command line of the guard that runs the command."""
        options = ["--stop-signal", self.stop_signal, "--grace", str(self.grace)]
        if self.user is not None:
            options += ["--user", str(self.user)]
        if self.remove is not None:
            options += ["--remove", str(self.remove)]
        return [sys.executable, "-I", str(GUARD), *options, "--", *self.command]


class GuardedProcess:
    """One run of a command in a session of its own; however this process ends, the command ends too."""

    def __init__(self, launch: Launch, guard: asyncio.subprocess.Process, *, begin: int) -> None:
        self._launch = launch
        self._guard = guard
        self._begin = begin
        self.pid = 0

    @classmethod
    async def start(cls, launch: Launch) -> GuardedProcess:
        """Return once the command runs; its output is added to the log. Raises PartFailed if it cannot be run."""
        starting = asyncio.ensure_future(cls._start(launch))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Seen through, and then undone: half-way there is a process that nobody knows.
            with contextlib.suppress(PartFailed):
                await (await starting).stop()
            raise

    @classmethod
    async def _start(cls, launch: Launch) -> GuardedProcess:
        with launch.log.open("ab") as log:
            # Now: the command writes through the same open file, which has one place for all.
            begin = log.tell()
            guard = await asyncio.create_subprocess_exec(
                *launch.guarded(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=launch.env,
                pass_fds=launch.keep_open,
                start_new_session=True,
            )
            process = cls(launch, guard, begin=begin)
        line = await guard.stdout.readline() if guard.stdout else b""
        kind, _, text = line.decode().strip().partition(" ")
        if kind != "pid":
            await guard.wait()
            raise PartFailed(launch.name, f"did not start: {launch.command[0]}: {text or process.reason()}")
        process.pid = int(text)
        return process

    async def wait(self) -> int:
        """Return the exit code when the command has ended, negative for a signal."""
        return await self._guard.wait()

    @property
    def has_ended(self) -> bool:
        """Whether the command runs no more."""
        return self._guard.returncode is not None

    async def stop(self) -> None:
        """End the command if it still runs, and return when it has ended. Safe to call at any time."""
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                self._guard.terminate()
        await self._guard.wait()

    async def kill(self) -> None:
        """End the command with SIGKILL, as a crash would, and return when it has ended."""
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                self._guard.send_signal(signal.SIGUSR1)
        await self._guard.wait()

    def crashed(self) -> PartCrashed:
        """The error that says how a command that should have run on has ended."""
        return PartCrashed(self._launch.name, self._guard.returncode or 0, "\n".join(self._last_lines()[-15:]))

    def printed(self, text: str) -> bool:
        """Whether this run has printed the text so far."""
        with self._launch.log.open("rb") as log:
            log.seek(self._begin)
            return text.encode() in log.read()

    def reason(self) -> str:
        """The one line of this run's output that best says why it ended."""
        lines = [line.strip() for line in self._last_lines() if line.strip()]
        # What ends a server it says first, and its consequences after it; a traceback ends with what it is about.
        fatal = [line for line in lines if "FATAL" in line or "PANIC" in line][:1]
        errors = [line for line in lines if any(word in line.lower() for word in ("error", "fatal", "panic"))]
        # With which an interpreter may end that has already said what is wrong.
        own = [line for line in errors if not line.startswith("Fatal Python error")]
        line = (fatal or own or errors or lines or ["it printed nothing"])[-1]
        return line if len(line) <= 200 else f"{line[:80]} … {line[-115:]}"

    def explanation(self) -> str:
        """The reason, and the list below it if it is an error of this engine that names several problems."""
        lines, reason = self._last_lines(), self.reason()
        above = max((number for number, line in enumerate(lines) if line.strip() == reason), default=len(lines))
        listed = itertools.takewhile(lambda line: line.startswith("  - "), lines[above + 1 :])
        return "\n".join([reason, *listed])

    def _last_lines(self) -> list[str]:
        with self._launch.log.open("rb") as log:
            # From the end, so that a long log costs no more than a short one.
            log.seek(max(self._begin, log.seek(0, os.SEEK_END) - 16_384))
            return log.read().decode(errors="replace").splitlines()
