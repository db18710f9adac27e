"""The demo as a newcomer runs it: to its end, interrupted, and with a part that fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.market import ROOT
from tests.processes import all_gone, family, is_running, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.program]

KINDS = 12
INVARIANTS = 14


class Demo:
    """One run of the demo, leader of its own process group as in a terminal."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "marketplace.demo", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "160"},
        )
        self.said = ""
        self.family: set[int] = set()

    def read_to(self, words: str) -> Demo:
        """Return when it has said these words."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line
            if words in line:
                self.family = family(self.process.pid)
                return self
        raise AssertionError(f"ended before {words!r}: {self.said}{self.process.communicate()}")

    def pid(self, part: str) -> int:
        found = re.search(rf"^{part}\s+process (\d+)$", self.said, re.MULTILINE)
        assert found
        return int(found[1])

    def interrupt(self) -> tuple[int, str]:
        # To the group, as the terminal does it.
        os.killpg(self.process.pid, signal.SIGINT)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait for it; the exit code and what it wrote to standard error."""
        said, error = self.process.communicate(timeout=100)
        self.said += said
        return self.process.returncode, error


@pytest.fixture
def demo() -> Iterator[Callable[..., Demo]]:
    runs: list[Demo] = []

    def start(*arguments: str) -> Demo:
        runs.append(Demo(*arguments))
        return runs[-1]

    yield start
    for run in runs:
        with run.process:
            run.process.kill()


def test_every_checkout_ends_as_it_should_and_everything_stays_up_until_it_is_interrupted(
    demo: Callable[..., Demo],
) -> None:
    run = demo("--stay").read_to("Everything stays up")

    assert "✗" not in run.said
    assert run.said.count("✓") == KINDS + INVARIANTS
    ui = re.search(r"all sagas that were undone\s+(http://\S+?)/namespaces", run.said)
    assert ui
    with urllib.request.urlopen(ui[1], timeout=10) as page:
        assert page.status == 200

    assert run.interrupt() == (0, "")
    assert all_gone(run.family)


def test_interrupted_in_the_middle_it_leaves_nothing_running(demo: Callable[..., Demo]) -> None:
    run = demo().read_to("Catalogue")

    code, error = run.interrupt()

    assert (code, error) == (1, "")
    assert all_gone(run.family)


def test_a_worker_that_is_killed_is_started_again_and_nothing_is_lost(demo: Callable[..., Demo]) -> None:
    run = demo().read_to("Catalogue")
    worker = run.pid("Worker")

    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not is_running(worker), "the worker is gone")

    assert run.end() == (0, "")
    assert "restarted" in run.said
    assert run.said.count("✓") == KINDS + INVARIANTS


def test_the_end_of_a_part_that_cannot_be_done_without_ends_the_demo_with_its_name(demo: Callable[..., Demo]) -> None:
    run = demo().read_to("Catalogue")
    provider = next(pid for pid in run.family if "payment_provider" in command_line(pid))

    os.kill(provider, signal.SIGKILL)

    code, error = run.end()
    assert code == 1
    assert error.startswith("Payment provider ended by itself: killed by SIGKILL.")
    assert "Traceback" not in error
    assert all_gone(run.family)


def command_line(pid: int) -> str:
    """Empty for a guard, which ends when what it guards does, and for what has ended since."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return ""
    return "" if any("guard.py" in word for word in words) else " ".join(words)
