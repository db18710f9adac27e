"""A short storm with a fixed seed, and under `-m long` a longer one; `make chaos` is longer still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import cast

import pytest

from marketplace.chaos.databases import Unreliable
from marketplace.chaos.faults import Faults
from marketplace.chaos.fleet import Fleet
from marketplace.chaos.plan import Kind
from tests.market import ROOT
from tests.processes import all_gone, family, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.program, pytest.mark.timeout(400)]

DECK = ("--faults", "10", "--storm", "9", "--sagas", "24", "--pairs", "0")
"""Each kind of fault once, at the least. A run ends with its last saga."""
PART = ("--only", "kill,cancel", "--storm", "30", "--sagas", "20")
"""As much as there has to be for an interruption to find everything under way."""


@contextmanager
def begun(*size: str) -> Iterator[subprocess.Popen[str]]:
    """A run in a process group of its own, as in a terminal."""
    with subprocess.Popen(
        [sys.executable, "-m", "marketplace.chaos", "--seed", "7", *size],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "160"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_everything_holds_after_a_storm() -> None:
    with begun(*DECK) as storm:
        said, _ = storm.communicate()

    assert storm.returncode == 0, said
    assert "✗" not in said
    assert "kill -9: PostgreSQL" in said
    assert "frozen and woken" in said
    assert "failover: PostgreSQL" in said
    assert "restore: PostgreSQL" in said
    assert "reset to the" in said
    assert "24 sagas and 10 faults in" in said


def test_interrupted_it_leaves_nothing_running() -> None:
    with begun(*PART) as storm:
        assert storm.stdout
        for line in storm.stdout:
            if line.startswith("Processes"):
                break
        time.sleep(1)
        members = family(storm.pid)

        os.killpg(storm.pid, signal.SIGINT)
        storm.communicate()

    assert storm.returncode == 1
    wait_until(lambda: all_gone(members), "everything is gone")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_everything_holds_after_a_long_storm() -> None:
    with begun("--sagas", "200", "--faults", "20", "--pairs", "10") as storm:
        said, _ = storm.communicate()

    assert storm.returncode == 0, said
    assert "✗" not in said
    assert "Pairs of faults of Checkout" in said


def test_only_the_kinds_that_were_chosen_are_in_the_deck() -> None:
    chosen = frozenset({Kind.FAILOVER, Kind.CUT})
    faults = Faults(cast("Fleet", None), cast("Unreliable", None), Random(1), chosen, (1, 2))

    assert {fault.__name__ for fault in faults.deck()} == {"fail_over", "cut_connections"}


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with begun("--only", "earthquake") as storm:
        said, _ = storm.communicate()

    assert storm.returncode == 2
    assert "failover" in said
