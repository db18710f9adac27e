"""The folder in which a part keeps its files: the user's, locked, or a temporary one that is removed afterwards."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from counteract.dev.errors import PartFailed

# In seconds. A run that was killed gives its parts time to stop, and only then is its folder free.
RELEASE = 15
MOVE = "Choose another folder with --state"


class StateFolder:
    """`path` is this run's alone until it is closed, however an earlier run on it has ended.

    The lock belongs to an open file, `keep_open`, which a part's guard shares: it is held until the guard has ended
    its command, even when this process dies. Once it is taken, files of an earlier run are certainly stale.
    """

    def __init__(self, path: Path, lock: int, *, ephemeral: bool) -> None:
        self.path = path
        self.ephemeral = ephemeral
        self.keep_open = (lock,)

    @classmethod
    async def open(cls, part: str, path: Path | None) -> StateFolder:
        """With no path, a temporary folder. Raises PartFailed when the path cannot be used, or is in use."""
        try:
            folder = temporary_folder() if path is None else make(path)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PartFailed(part, f"cannot keep its state in {path}: {error.strerror}", MOVE) from error
        try:
            await take(part, folder, lock)
        except BaseException:
            os.close(lock)
            raise
        return cls(folder, lock, ephemeral=path is None)

    @property
    def remove(self) -> Path | None:
        """What a guard removes when nobody else is left to do it."""
        return self.path if self.ephemeral else None

    def close(self) -> None:
        os.close(self.keep_open[0])
        if self.ephemeral:
            shutil.rmtree(self.path, ignore_errors=True)


def temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="counteract-")).resolve()


def make(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


async def take(part: str, folder: Path, lock: int) -> None:
    deadline = time.monotonic() + RELEASE
    while not try_to_lock(lock):
        owner = os.pread(lock, 32, 0).decode()
        if is_alive(owner) or time.monotonic() > deadline:
            raise PartFailed(part, f"cannot use {folder}: another run (process {owner}) is using it", MOVE)
        await asyncio.sleep(0.05)
    os.truncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def try_to_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:  # alive, and somebody else's
        return True
    return True
