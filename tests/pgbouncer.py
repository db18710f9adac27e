"""Debian's PgBouncer in front of a server, in transaction mode, with fewer sessions than it has clients."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from counteract.dev import EmbeddedPostgres
from counteract.store.postgres.connect import APP_ROLE
from tests.missing_programs import lacking

SESSIONS = 3
_PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_PORT = 6432
_SETTINGS = """
[databases]
* = host={server}
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = {port}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 200
logfile = {folder}/log
{more}
"""


@dataclass(frozen=True)
class Bouncer:
    folder: Path

    def through(self, url: str) -> str:
        """The same database and role, with all else that the URL says."""
        given = conninfo_to_dict(url)
        options = f"&options={quote(str(given['options']))}" if given.get("options") else ""
        return f"postgresql://{given['user']}@/{given['dbname']}?host={self.folder}&port={_PORT}{options}"


@asynccontextmanager
async def running(server: EmbeddedPostgres, *roles: str, more: str = "") -> AsyncIterator[Bouncer]:
    """Stands in front of a server on a socket, for these roles. Without the program a test is skipped, or fails."""
    if _PROGRAM is None:
        lacking("there is no PgBouncer here: apt-get install pgbouncer")
    with tempfile.TemporaryDirectory(prefix="counteract-bouncer-") as name:
        bouncer = Bouncer(Path(name))
        process = _start(_PROGRAM, bouncer.folder, Path(str(conninfo_to_dict(server.url)["host"])), roles, more)
        try:
            await _answers(bouncer.through(server.url_of("postgres")))
            yield bouncer
        finally:
            process.kill()
            process.wait()


def _start(program: str, folder: Path, socket: Path, roles: Sequence[str], more: str) -> subprocess.Popen[bytes]:
    (folder / "users").write_text("".join(f'"{user}" ""\n' for user in ("postgres", APP_ROLE, *roles)))
    settings = _SETTINGS.format(server=socket, folder=folder, port=_PORT, sessions=SESSIONS, more=more)
    (folder / "settings").write_text(settings)
    # As the server's own user, since nobody else gets to its socket, and root may not run it.
    owner = socket.stat()
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner.st_uid, -1)
    user, group = (owner.st_uid, owner.st_gid) if os.getuid() == 0 else (None, None)
    command = [program, "--quiet", str(folder / "settings")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, group=group)


async def _answers(url: str) -> None:
    for _ in range(500):
        try:
            async with await psycopg.AsyncConnection.connect(url):
                return
        except psycopg.OperationalError:
            await asyncio.sleep(0.02)
    raise RuntimeError("PgBouncer did not answer")
