"""Pages of docs/how-to, followed in an empty folder on a database of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from counteract.dev import EmbeddedTemporal
from tests.page import Change, Command, File, Session, missing, parts
from tests.sink_servers import RedisServer, SearchServer

pytestmark = [pytest.mark.integration, pytest.mark.program]

PAGES = Path(__file__).parents[3] / "docs" / "how-to"


def run(command: Command, folder: Path, variables: Mapping[str, str]) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command.line],
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    line = missing(command.output, done.stdout)
    assert line is None, f"$ {command.line}\n\nThe page shows:\n{line}\n\nThere was:\n{done.stdout}"
    # A remedy is there only where something is wrong.
    assert done.returncode == int("  → " in done.stdout)


@pytest.mark.parametrize(
    "page",
    [
        *("archive-streams", "begin-a-project", "change-an-event", "decide-across-streams", "personal-data"),
        *("store-events", "test-decisions", "test-on-real-servers", "write-a-projection"),
    ],
)
async def test_the_page_does_what_it_says_and_shows_what_comes_out(
    page: str, tmp_path: Path, app_url: str, database_url: str
) -> None:
    await follow(page, tmp_path, {"DATABASE_URL": app_url, "OWNER_URL": database_url})


async def test_the_page_on_other_stores_does_what_it_says(tmp_path: Path, app_url: str) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    async with RedisServer.running(folder) as redis, SearchServer.running() as search:
        variables = {"DATABASE_URL": app_url, "REDIS_URL": redis.url, "OPENSEARCH_URL": search.url}
        await follow("project-to-other-stores", tmp_path, variables)


async def test_the_page_about_reactions_does_what_it_says(
    tmp_path: Path, app_url: str, temporal: EmbeddedTemporal
) -> None:
    await follow("react-to-events", tmp_path, {"DATABASE_URL": app_url, "TEMPORAL_ADDRESS": temporal.address})


async def follow(page: str, folder: Path, variables: Mapping[str, str]) -> None:
    for part in parts(PAGES / f"{page}.md"):
        match part:
            case File():
                (folder / part.name).write_text(part.text)
            case Change():
                file = folder / part.name
                file.write_text(part.applied_to(file.read_text()))
            case Session():
                for command in part.commands:
                    await asyncio.to_thread(run, command, folder, variables)
