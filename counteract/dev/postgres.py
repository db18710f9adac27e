"""A real PostgreSQL from a wheel, as a child process: nothing to install, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Self

import psycopg

from counteract.dev.cluster import NAME, Cluster, socket_folder
from counteract.dev.errors import PartCrashed, PartFailed
from counteract.dev.process import GuardedProcess, Launch
from counteract.dev.state import StateFolder
from counteract.store.postgres.connect import APP_ROLE

if TYPE_CHECKING:
    from pathlib import Path

_DATABASE = "counteract"
# In seconds. After a crash PostgreSQL replays its log before it answers.
_START_TIMEOUT = 60

_SETTINGS = {
    "listen_addresses": "",
    "lc_messages": "C",
    "log_timezone": "UTC",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "shared_buffers": "128MB",
    "timezone": "UTC",
}
# Nobody will read it after a power cut, so it need not survive one. Commits stay synchronous all the same: what was
# acknowledged must survive the death of the server, or a fault test would find losses that production does not have.
_EPHEMERAL_SETTINGS = {"fsync": "off", "full_page_writes": "off"}
# With the log that was written meanwhile, so that it needs no archive; and at once, not when a checkpoint comes anyway.
_BACKUP = ("--wal-method=stream", "--checkpoint=fast", "--no-sync")


class EmbeddedPostgres:
    """`async with EmbeddedPostgres() as postgres:` gives a server, with an empty database at `postgres.url`.

    Without a state folder it keeps its files in memory where that has room, and everything is gone afterwards; with one
    everything is there again the next time. The server listens on a Unix socket only, in a folder that no other user
    can enter. Raises PartFailed when it cannot start.
    """

    version: str

    def __init__(self, state: Path | None = None) -> None:
        self._state = state
        self._cleanup = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as cleanup:
            folder = await StateFolder.open(NAME, self._state)
            cleanup.callback(folder.close)
            self._cluster = Cluster(folder, cleanup.enter_context(socket_folder(folder.path)))
            await self._cluster.create()
            cleanup.push_async_callback(self.stop)
            await self.start()
            await self._create_database()
            self._cleanup = cleanup.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._cleanup.aclose()

    @property
    def url(self) -> str:
        """The URL of the database for libpq and psycopg, which survives `kill` and `restart`.

        SQLAlchemy wants `postgresql+psycopg` as its scheme.
        """
        return self.url_of(_DATABASE)

    @property
    def app_url(self) -> str:
        """The URL of the same database, as the role that `migrate` makes for the application."""
        return self.url_of(_DATABASE, role=APP_ROLE)

    def url_of(self, database: str, *, role: str = "postgres") -> str:
        """The URL of one of the server's databases, by its socket; no password is asked for."""
        return f"postgresql://{role}@/{database}?host={self._cluster.socket}"

    def lines(self) -> list[tuple[str, str]]:
        """The lines to show at the start: name, version, and the URL to connect to as the application."""
        return [(f"{NAME} {self.version}", self.app_url)]

    async def start(self) -> None:
        """Start the server on the files it has, also after `stop` or `kill`; return when it answers."""
        self._cluster.clear_leftovers()
        self._process = await GuardedProcess.start(self._launch())
        if not await self._answers():
            raise PartFailed(NAME, f"did not start: {self._process.reason()}")

    async def stop(self) -> None:
        """Shut the server down cleanly. Its clients lose their connections."""
        await self._process.stop()

    async def kill(self) -> None:
        """End the server as a crash of its machine would, all of its processes with `kill -9`."""
        await self._process.kill()
        self._cluster.clear_leftovers()

    async def restart(self) -> None:
        """Stop and start the server, on the files it has. Connections end."""
        await self.stop()
        await self.start()

    async def back_up(self, *options: str) -> Path:
        """Copy all databases as they are now, while they are in use, to a state folder for another server or for
        `put_back`.

        It goes when this server does, if that has no state folder. `options` are for `pg_basebackup`.
        """
        copy = self._cluster.new_copy()
        await self._cluster.run(
            "pg_basebackup",
            "-h",
            str(self._cluster.socket),
            "-U",
            "postgres",
            "-D",
            str(copy / "data"),
            *_BACKUP,
            *options,
        )
        return copy

    async def put_back(self, copy: Path) -> Path:
        """Go on with a copy under the same address, as after a restore or a failover. Its clients lose their
        connections.

        The server that was there, if it still runs, is killed; returns the state folder that now has its files.
        """
        await self.kill()
        replaced = self._cluster.replace(copy)
        await self.start()
        return replaced

    async def crashed(self) -> PartCrashed:
        """Return when the server has ended by itself, with the error that says how."""
        await self._process.wait()
        return self._process.crashed()

    def _launch(self) -> Launch:
        settings = _SETTINGS | {"unix_socket_directories": str(self._cluster.socket)}
        if self._cluster.ephemeral:
            settings |= _EPHEMERAL_SETTINGS
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._cluster.launch("postgres", "-D", str(self._cluster.data), *options)

    async def _answers(self) -> bool:
        """Return True as soon as the server accepts a connection, False when it has ended instead."""
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._process.has_ended:
            with contextlib.suppress(psycopg.OperationalError):
                async with await self._connect() as connection:
                    self.version = (connection.info.parameter_status("server_version") or "").split()[0]
                    return True
            if time.monotonic() > deadline:
                raise PartFailed(NAME, f"did not answer within {_START_TIMEOUT} seconds: {self._process.reason()}")
            await asyncio.sleep(0.02)
        return False

    async def _create_database(self) -> None:
        async with await self._connect() as connection:
            found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [_DATABASE])
            if not found.rowcount:
                await connection.execute(f"CREATE DATABASE {_DATABASE}")

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(self.url_of("postgres"), autocommit=True, connect_timeout=5)
