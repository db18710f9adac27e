"""A database on a disk that is soon full."""

from __future__ import annotations

import random
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from counteract.dev.fixtures import TEMPLATE, execute
from counteract.dev.postgres import EmbeddedPostgres


class SmallDisk:
    """24 MB of memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, owner: Path) -> None:
        """For the user that owns a path."""
        ids = owner.stat()
        self._mount(f"size=24m,uid={ids.st_uid},gid={ids.st_gid},mode=700")

    def grow(self) -> None:
        self._mount("remount,size=64m")

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], check=True, capture_output=True)


@pytest.fixture
async def small_disk(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[SmallDisk]:
    """With the database `crowded` on it. Only where mounting is allowed."""
    disk = SmallDisk(tmp_path)
    try:
        disk.mount(Path(await fetch(postgres.url, "show data_directory")))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    try:
        await execute(postgres, f"create tablespace small location '{tmp_path}'")
        await execute(postgres, f"create database crowded template {TEMPLATE} tablespace small")
        yield disk
        await execute(postgres, "drop database crowded with (force)")
        await execute(postgres, "drop tablespace small")
    finally:
        disk.unmount()


def incompressible(size: int) -> str:
    return random.Random(size).randbytes(size // 2).hex()


async def fetch(url: str, statement: str) -> str:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode())
        row = await cursor.fetchone() if cursor.description else None
        return str(row[0]) if row else ""
