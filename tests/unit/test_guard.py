"""The guard, as a program of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from counteract.dev.process import GUARD
from tests.processes import is_running, wait_until

pytestmark = pytest.mark.unit

IGNORES_SIGTERM = "trap '' TERM; touch {flag}; while :; do sleep 0.05; done"


class Guarded:
    """A guard over a shell script, and the pid of the shell."""

    def __init__(self, script: str, *options: str) -> None:
        command = [sys.executable, "-I", str(GUARD), *options, "--", "bash", "-c", script]
        self.guard = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.pid = int(self.stream(self.guard.stdout).readline().removeprefix("pid "))

    @staticmethod
    def stream(stream: IO[str] | None) -> IO[str]:
        assert stream
        return stream

    def abandon(self) -> None:
        """What the kernel does for a starter that was killed."""
        self.stream(self.guard.stdin).close()

    def close(self) -> None:
        self.guard.kill()
        self.guard.wait()
        for stream in (self.guard.stdin, self.guard.stdout, self.guard.stderr):
            self.stream(stream).close()


class Starter:
    def __init__(self) -> None:
        self._all: list[Guarded] = []

    def __call__(self, script: str, *options: str) -> Guarded:
        self._all.append(Guarded(script, *options))
        return self._all[-1]

    def close(self) -> None:
        for one in self._all:
            one.close()


@pytest.fixture
def start() -> Iterator[Starter]:
    starter = Starter()
    yield starter
    starter.close()


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """Touched by a script that is ready for what the test does to it."""
    return tmp_path / "flag"


def test_a_guard_ends_with_the_exit_code_of_its_command(start: Starter) -> None:
    assert start("exit 3").guard.wait(10) == 3


def test_a_guard_ends_by_the_signal_that_ended_its_command(start: Starter) -> None:
    assert start("kill -9 $$").guard.wait(10) == -signal.SIGKILL
    assert start("kill -TERM $$").guard.wait(10) == -signal.SIGTERM


def test_a_command_that_cannot_be_started_is_reported_in_one_line() -> None:
    command = [sys.executable, "-I", str(GUARD), "--", "/no/such/program"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("error No such file or directory\n", "", 127)


def test_a_command_ends_when_its_starter_is_gone(start: Starter) -> None:
    guarded = start("exec sleep 60")
    guarded.abandon()
    assert guarded.guard.wait(10) == -signal.SIGTERM
    assert not is_running(guarded.pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_command_ends_when_its_guard_is_told_to(start: Starter, number: signal.Signals) -> None:
    guarded = start("exec sleep 60")
    guarded.guard.send_signal(number)
    guarded.guard.wait(10)
    assert not is_running(guarded.pid)


def test_a_command_is_stopped_by_the_signal_that_was_chosen(start: Starter, flag: Path) -> None:
    guarded = start(f"trap 'exit 42' USR2; touch {flag}; while :; do sleep 0.05; done", "--stop-signal", "SIGUSR2")
    wait_until(flag.exists, "the trap is set")
    guarded.guard.terminate()
    assert guarded.guard.wait(10) == 42


def test_a_command_that_will_not_stop_is_killed_after_the_grace_period(start: Starter, flag: Path) -> None:
    guarded = start(IGNORES_SIGTERM.format(flag=flag), "--grace", "0.2")
    wait_until(flag.exists, "the trap is set")
    guarded.guard.terminate()
    assert guarded.guard.wait(10) == -signal.SIGKILL


def test_a_kill_does_not_wait_for_the_grace_period(start: Starter, flag: Path) -> None:
    guarded = start(IGNORES_SIGTERM.format(flag=flag), "--grace", "600")
    wait_until(flag.exists, "the trap is set")
    guarded.guard.terminate()
    guarded.guard.send_signal(signal.SIGUSR1)
    assert guarded.guard.wait(10) == -signal.SIGKILL


def test_what_the_command_left_running_ends_with_it(start: Starter, flag: Path) -> None:
    guarded = start(f"sleep 60 & echo $! > {flag}.new; mv {flag}.new {flag}; exit 0")
    guarded.guard.wait(10)
    pid = int(flag.read_text())
    wait_until(lambda: not is_running(pid), "the straggler ends")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_command_ends_when_its_guard_is_killed(start: Starter) -> None:
    guarded = start("exec sleep 60")
    guarded.guard.kill()
    wait_until(lambda: not is_running(guarded.pid), "the command ends")


def test_a_command_is_out_of_reach_of_the_terminals_ctrl_c(start: Starter) -> None:
    guarded = start("exec sleep 60")
    assert os.getsid(guarded.pid) == guarded.pid


def test_the_folder_of_a_starter_that_died_is_removed(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "state" / "deep").mkdir(parents=True)
    guarded = start("exec sleep 60", "--remove", str(tmp_path / "state"))
    guarded.abandon()
    guarded.guard.wait(10)
    assert not (tmp_path / "state").exists()


def test_the_folder_of_a_starter_that_lives_is_left_to_it(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    guarded = start("exec sleep 60", "--remove", str(tmp_path / "state"))
    guarded.guard.terminate()
    guarded.guard.wait(10)
    assert (tmp_path / "state").exists()
