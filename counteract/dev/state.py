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

# In seconds: longer than the parts of a run that was killed may take to stop.
_RELEASE = 30
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder made in it has a name of its own, and belongs to one user
# In bytes, for several servers at once: containers often have no more than 64 MB there.
ROOM_IN_MEMORY = 4 << 30
MOVE = "Choose another folder with --state"


class StateFolder:
    """A folder that is this run's alone until it is closed, however an earlier run on it has ended.

    Two locks, each on an open file, which the kernel gives up with the last process that has it open. `owner` is open
    in this process only. `keep_open` is shared with the part's guard, and so held until the guard has ended its
    command, even when this process is killed: whoever has it knows that files of an earlier run are stale.
    """

    def __init__(self, path: Path, *, ephemeral: bool) -> None:
        self.path = path
        self.ephemeral = ephemeral
        self._owner = _open_file(path / "owner")
        self._lock = _open_file(path / "lock")

    @classmethod
    async def open(cls, part: str, path: Path | None) -> StateFolder:
        """Take a folder, or a temporary one. Raises PartFailed when the folder cannot be used, or is in use."""
        try:
            folder = cls(_temporary_folder() if path is None else _make(path), ephemeral=path is None)
        except OSError as error:
            raise PartFailed(
                part, f"cannot keep its state in {path or tempfile.gettempdir()}: {error.strerror}", MOVE
            ) from error
        try:
            await folder._take(part)
        except BaseException:
            folder.close()
            raise
        return folder

    @property
    def keep_open(self) -> tuple[int, ...]:
        """The file descriptors that a guard has to keep open as long as its command runs."""
        return (self._lock,)

    @property
    def remove(self) -> Path | None:
        """The folder that a guard removes when nobody else is left to do it; None where it is kept."""
        return self.path if self.ephemeral else None

    def close(self) -> None:
        """Give the folder up, and remove it where it is temporary."""
        os.close(self._lock)
        os.close(self._owner)
        if self.ephemeral:
            shutil.rmtree(self.path, ignore_errors=True)

    async def _take(self, part: str) -> None:
        if not _try_to_lock(self._owner):
            owner = os.pread(self._owner, 32, 0).decode()
            raise PartFailed(part, f"cannot use {self.path}: another run (process {owner}) is using it", MOVE)
        os.truncate(self._owner, 0)
        os.pwrite(self._owner, str(os.getpid()).encode(), 0)
        deadline = time.monotonic() + _RELEASE
        while not _try_to_lock(self._lock):
            if time.monotonic() > deadline:
                raise PartFailed(part, f"cannot use {self.path}: what an earlier run left does not stop", MOVE)
            await asyncio.sleep(0.05)


def _temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="counteract-", dir=room_in_memory())).resolve()


def room_in_memory() -> Path | None:
    """A file system in memory, where there is one with room enough: nobody will miss what is in it."""
    usable = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM_IN_MEMORY
    return MEMORY if usable else None


def _make(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def _open_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_to_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
