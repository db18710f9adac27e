"""A short storm with a fixed seed; `make chaos` is the long one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.market import ROOT
from tests.support import all_gone, family, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

LIMIT = ("--seconds", "150")
"""Only a busy machine takes that long: a run ends with its last saga."""


@pytest.fixture
def storm() -> Iterator[subprocess.Popen[str]]:
    """A run in a process group of its own, as in a terminal."""
    size = ("--seed", "7", *LIMIT, "--storm", "14", "--pairs", "5", "--checkouts", "45")
    with subprocess.Popen(
        [sys.executable, "-m", "marketplace.chaos", *size],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "160"},
    ) as process:
        yield process
        process.kill()


def test_everything_holds_after_a_storm(storm: subprocess.Popen[str]) -> None:
    said, _ = storm.communicate()

    assert storm.returncode == 0, said
    assert "✗" not in said
    assert "kill -9: PostgreSQL" in said
    assert "frozen and woken" in said
    assert "reset to the" in said
    assert "Pairs of faults of Checkout" in said


def test_interrupted_it_leaves_nothing_running(storm: subprocess.Popen[str]) -> None:
    assert storm.stdout
    for line in storm.stdout:
        if line.startswith("Processes"):
            break
    time.sleep(3)
    members = family(storm.pid)

    os.killpg(storm.pid, signal.SIGINT)
    storm.communicate()

    assert storm.returncode == 1
    wait_until(lambda: all_gone(members), "everything is gone")
