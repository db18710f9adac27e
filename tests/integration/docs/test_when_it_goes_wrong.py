"""docs/how-to/when-it-goes-wrong.md, followed by a person who looks again until it is as the page says."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from counteract.dev import EmbeddedTemporal
from tests.page import Command, File, Session, missing, parts

pytestmark = [pytest.mark.integration, pytest.mark.program, pytest.mark.timeout(400)]

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "when-it-goes-wrong.md"
LOOKS = re.compile(r"counteract (sagas (list|show|resume)|events)")
"""What may be asked again: a server takes a moment."""
PATIENCE = 30


def type_(command: Command, folder: Path, variables: Mapping[str, str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        line, output = _run(command, folder, variables)
        if line is None:
            return
        if not LOOKS.match(command.line) or time.monotonic() > deadline:
            log = (folder / "worker.log").read_text()[-300:]
            pytest.fail(f"$ {command.line}\n\nThe page shows:\n{line}\n\nThere was:\n{output}\n\n{log}")
        time.sleep(0.5)


def _run(command: Command, folder: Path, variables: Mapping[str, str]) -> tuple[str | None, str]:
    done = subprocess.run(
        ["bash", "-c", command.line],
        cwd=folder,
        env={**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    return missing(command.output, done.stdout), done.stdout


async def test_the_page_does_what_it_says_and_shows_what_comes_out(
    tmp_path: Path, app_url: str, temporal: EmbeddedTemporal
) -> None:
    # A terminal, as the reader has one, without colours.
    terminal = {"COLUMNS": "200", "TTY_COMPATIBLE": "1", "TERM": "dumb"}
    variables = {"DATABASE_URL": app_url, "TEMPORAL_ADDRESS": temporal.address, **terminal}
    try:
        for part in parts(PAGE):
            match part:
                case File():
                    (tmp_path / part.name).write_text(part.text)
                case Session():
                    for command in part.commands:
                        await asyncio.to_thread(type_, command, tmp_path, variables)
    finally:
        # The page ends it as well, if it comes that far.
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((tmp_path / "worker.pid").read_text()), signal.SIGTERM)
