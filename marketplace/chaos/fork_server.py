"""Programs that are forked from a process which has imported their modules before.

Imports are two seconds of a processor for each of the hundreds of times that a storm starts something again. What comes
back is a new process nevertheless, with connections, threads and memory of its own.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from typing import Self

from counteract.dev.process import Launch

PR_SET_PDEATHSIG = 1
MANY = 4096
"""The number of files that a process may have open, more than that of the one with the imports."""

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    ["marketplace.chaos.fork_server", "marketplace.chaos.gifts", "payment_provider.server", "projections", "worker"]
)


class ForkedProcess:
    """One run of a Python program in a session of its own; however this process ends, the program ends too."""

    def __init__(self, launch: Launch, process: ForkServerProcess, *, begin: int) -> None:
        self._launch = launch
        self._process = process
        self._begin = begin
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(process.sentinel, self._has_ended_now)

    @classmethod
    async def start(cls, launch: Launch) -> Self:
        """Return once it runs; its output is added to the log. Only Python's own programs: a module or a path."""
        starting = asyncio.ensure_future(cls._start(launch))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await (await starting).stop()
            raise

    @classmethod
    async def _start(cls, launch: Launch) -> Self:
        with launch.log.open("ab") as log:
            begin = log.tell()
        process = _processes.Process(
            target=become, args=(tuple(launch.command[1:]), dict(launch.env), str(launch.log)), daemon=True
        )
        # The first one waits for the imports.
        await asyncio.to_thread(process.start)
        return cls(launch, process, begin=begin)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    async def wait(self) -> None:
        """Return when the program has ended."""
        await self._ended.wait()

    async def stop(self) -> None:
        """End it if it still runs, and return when it has ended. Safe to call at any time."""
        for number, patience in ((signal.SIGTERM, self._launch.grace), (signal.SIGKILL, None)):
            if not self.has_ended:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self.wait()

    def printed(self, text: str) -> bool:
        """Whether this run has printed the text so far."""
        return text in self._output()

    def reason(self) -> str:
        """The line with which its output ends."""
        return (self._output().split("\n")[-2:] or [""])[0] or "it printed nothing"

    def _output(self) -> str:
        with self._launch.log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")

    def _has_ended_now(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        self._process.join()
        self._ended.set()


def become(command: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """Set the new process up as an interpreter that is started with this command."""
    # Its parent is the process with the imports, which ends with whoever started that, once nobody else has the other end of
    # its pipe.
    os.closerange(3, MANY)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    if command[0] == "-m":
        sys.argv = list(command[1:])
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(command)
        runpy.run_path(command[0], run_name="__main__")
