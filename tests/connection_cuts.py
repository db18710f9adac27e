"""Stands between a client and PostgreSQL, and cuts their connection at a chosen point of a chosen request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_SOCKET = ".s.PGSQL.5432"
_SYNC_BYTES = 5
"""A Sync message: it ends a request, and outside of a transaction it commits."""


MARK = "cut here"
"""The request whose text has it is the one that is cut."""


class Cut(Enum):
    """How far a request gets."""

    BEFORE = "nothing of it is sent"
    HALFWAY = "half of it is sent"
    UNCOMMITTED = "all is sent but the message that commits"
    AWAY = "all is sent, and nobody waits for the answer"
    AFTER = "it is answered, and the answer is lost"


class Relay:
    """Connections through it are whole until `cut_at` is set, which the next request with `MARK` in it takes."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._open: set[asyncio.StreamWriter] = set()
        self.cut_at: Cut | None = None

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str, folder: Path) -> AsyncIterator[tuple[Self, str]]:
        """The relay, and a URL that leads through it."""
        relay = cls(Path(str(conninfo_to_dict(url)["host"])) / _SOCKET)
        async with await asyncio.start_unix_server(relay._serve, folder / _SOCKET):
            yield relay, make_conninfo(url, host=str(folder))
            relay.cut_all()

    def cut_all(self) -> None:
        for writer in self._open:
            writer.close()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._server)
        pair = {to_client, to_server}
        self._open |= pair
        answers = asyncio.create_task(_pass_on(from_server, to_client))
        with suppress(ConnectionError):
            while request := await from_client.read(2**20):
                if self.cut_at and MARK.encode() in request:
                    answers.cancel()
                    await self._send_part(request, from_server, to_server)
                    break
                to_server.write(request)
        for writer in pair:
            writer.close()
        self._open -= pair
        await asyncio.wait({answers})

    async def _send_part(
        self, request: bytes, from_server: asyncio.StreamReader, to_server: asyncio.StreamWriter
    ) -> None:
        cut, self.cut_at = self.cut_at, None
        match cut:
            case Cut.BEFORE:
                return
            case Cut.HALFWAY:
                request = request[: len(request) // 2]
            case Cut.UNCOMMITTED:
                request = request[:-_SYNC_BYTES]
        to_server.write(request)
        await to_server.drain()
        if cut is Cut.AFTER:
            await from_server.read(1)


async def _pass_on(from_server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while answer := await from_server.read(2**20):
            to_client.write(answer)
    to_client.close()
