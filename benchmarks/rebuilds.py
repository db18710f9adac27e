"""A read model made anew from the whole log, by the command, with its processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from counteract.dev import PartFailed


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The rate of a rebuild, and the most memory that one of its processes took."""

    events: int
    processes: int
    per_second: float
    peak: int
    """The most memory, in bytes."""


async def rebuild(env: Mapping[str, str], events: int, processes: int) -> Rebuilt:
    """Rebuild by the command. Raises PartFailed where that fails."""
    return await asyncio.to_thread(_rebuild, env, events, processes)


def _rebuild(env: Mapping[str, str], events: int, processes: int) -> Rebuilt:
    command = [sys.executable, "-m", "counteract.cli", "projections", "rebuild", "order-summary"]
    began = time.perf_counter()
    # Not waited for by the module: what the process used is told to whoever waits for it.
    running = subprocess.Popen([*command, "--processes", str(processes)], env=env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    elapsed = time.perf_counter() - began
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise PartFailed("rebuild", f"ended with {running.returncode}: what it printed stands above")
    return Rebuilt(events, processes, events / elapsed, used.ru_maxrss * 1024)
