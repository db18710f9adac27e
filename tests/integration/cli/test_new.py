"""A project that `counteract new` has begun, as whoever began it has it: its own checks and tests, and its worker.

One thing is not so: its environment is this one, since building one of its own needs a network.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tomllib
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from temporalio.client import Client

from counteract.dev import EmbeddedTemporal
from tests.commands import counteract

pytestmark = [pytest.mark.integration, pytest.mark.program]

PROGRAMS = Path(sys.executable).parent
# What is there is taken for the environment, however old it is.
MAKE = ["make", "--old-file", ".venv/.ready", f"BIN={PROGRAMS}"]


@pytest.fixture(scope="module")
async def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects")
    done = await counteract("new", "ticket-shop", "--into", str(folder))
    assert done.returncode == 0, done.stderr
    (folder / "ticket-shop" / ".venv").mkdir()
    (folder / "ticket-shop" / ".venv" / ".ready").touch()
    return folder / "ticket-shop"


def make(project: Path, target: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MYPY", "TEMPORAL_"))}
    command = [*MAKE, target]
    done = subprocess.run(command, cwd=project, env=own, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(300)
async def test_its_checks_pass(project: Path) -> None:
    assert "Success: no issues found in 10 source files" in make(project, "check")


# It explores, and shares its two cores with other tests.
@pytest.mark.timeout(600)
async def test_its_tests_pass(project: Path) -> None:
    assert "10 passed" in make(project, "test")


async def test_its_worker_serves_a_booking(project: Path, temporal: EmbeddedTemporal, app_url: str) -> None:
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    (part,) = settings["tool"]["counteract"]["dev"]["parts"]
    own = {"DATABASE_URL": app_url, "TEMPORAL_ADDRESS": temporal.address, "PATH": str(PROGRAMS)}
    worker = await asyncio.create_subprocess_exec(*part["command"], cwd=project, env=os.environ | own, stdout=PIPE)
    assert worker.stdout
    try:
        assert (await worker.stdout.readline()).decode().strip() == part["ready"]
        client = await Client.connect(temporal.address)
        request = {"show": "hamlet", "customer": "ann", "seats": 2}
        booked = await client.execute_workflow("BookSeats", request, id="booking-1", task_queue=project.name)
    finally:
        worker.terminate()
        await worker.wait()

    assert booked == {"seats": 2, "owed": 20}
