"""Processes, watched from outside."""

import contextlib
import time
from collections.abc import Callable, Iterable

import psutil

PATIENCE = 30.0


def wait_until(holds: Callable[[], bool], what: str, *, within: float = PATIENCE) -> None:
    """Return as soon as it holds; fail, saying what did not come about, when it takes too long."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {within} seconds"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def family(pid: int) -> set[int]:
    """The process and all that it has started, directly or not."""
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


def all_gone(pids: Iterable[int]) -> bool:
    return not any(is_running(pid) for pid in pids)
