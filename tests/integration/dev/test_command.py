"""`counteract dev` as a person runs it: in a terminal of its own, interrupted, killed, and with parts that fail."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.processes import all_gone, family, is_running, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.program]

COUNTERACT = Path(sys.executable).with_name("counteract")
WORKER = """
[[tool.counteract.dev.parts]]
name = "Worker"
command = ["python", "-c", "import time; print('ready'); time.sleep(600)"]
ready = "ready"
"""
FAILING = """
[[tool.counteract.dev.parts]]
name = "Projections"
command = ["bash", "-c", "echo one; echo ready; while [ ! -e fail ]; do sleep 0.05; done; echo last words; exit 3"]
ready = "ready"
"""
PROVIDER = """
[tool.counteract.dev]
ports = ["provider"]

[[tool.counteract.dev.parts]]
name = "Provider"
command = ["python", "-m", "http.server", "--bind", "127.0.0.1", "$PROVIDER_PORT"]
ready = "http://127.0.0.1:$PROVIDER_PORT/"
"""


class Dev:
    """One run of `counteract dev` in `project`, leader of its own process group as in a terminal."""

    def __init__(self, project: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [str(COUNTERACT), "dev", *arguments],
            cwd=project,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.lines: list[str] = []
        self.family: set[int] = set()

    def up(self) -> "Dev":
        """Return when every part has been announced."""
        self.read_to("Logs ")
        self.family = family(self.process.pid)
        return self

    def read_to(self, label: str) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith(label):
                return line
        raise AssertionError(f"ended before {label!r}: {self.process.communicate()}")

    def value(self, label: str) -> str:
        return next(re.split(r"\s{2,}|(?<=\S)\s(?=\S+$)", line)[-1] for line in self.lines if line.startswith(label))

    def child(self, words: str) -> int:
        """The one process among those of this run whose command line has these words, guards aside."""
        return next(pid for pid in self.family if words in command_line(pid) and "guard.py" not in command_line(pid))

    def end(self) -> tuple[int, str]:
        """Wait for it; return the exit code and what it wrote to standard error."""
        _, error = self.process.communicate(timeout=60)
        return self.process.returncode, error

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        # To the group, as the terminal does it.
        os.killpg(self.process.pid, number)
        return self.end()


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    """Start one in `tmp_path`, with these settings in its pyproject.toml."""
    runs: list[Dev] = []

    def start(settings: str = "", *arguments: str) -> Dev:
        (tmp_path / "pyproject.toml").write_text(settings)
        runs.append(Dev(tmp_path, *arguments))
        return runs[-1]

    yield start
    for run in runs:
        with run.process:
            run.process.kill()


def test_every_part_is_announced_with_its_address_and_works(dev: Callable[..., Dev]) -> None:
    run = dev(PROVIDER + WORKER).up()
    labels = [line.split("  ")[0] for line in run.lines]
    assert [re.sub(r" \d.*", "", label) for label in labels] == [
        *("PostgreSQL", "Temporal", "Web UI", "Provider", "Worker", "Logs")
    ]
    with psycopg.connect(run.value("PostgreSQL")) as connection:
        assert connection.execute("SELECT to_regclass('events') IS NOT NULL").fetchone() == (True,)
    host, port = run.value("Temporal").split(":")
    socket.create_connection((host, int(port))).close()
    assert Path(run.value("Logs"), "worker.log").read_text() == "ready\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_leaves_nothing_and_is_no_error(dev: Callable[..., Dev], number: signal.Signals) -> None:
    run = dev(WORKER).up()
    logs = Path(run.value("Logs"))
    assert run.interrupt(number) == (0, "")
    assert len(run.family) > 6
    assert all_gone(run.family)
    assert not logs.exists()


def test_an_interruption_during_the_start_leaves_nothing(dev: Callable[..., Dev]) -> None:
    run = dev(WORKER)
    run.read_to("PostgreSQL")
    processes = family(run.process.pid)
    assert run.interrupt() == (0, "")
    assert all_gone(processes)


def test_kill_9_leaves_nothing(dev: Callable[..., Dev]) -> None:
    run = dev(WORKER).up()
    folders = [Path(run.value("Logs")), Path(run.value("PostgreSQL").split("host=")[1])]
    run.process.kill()
    wait_until(lambda: all_gone(run.family), "every process of the run ends")
    wait_until(lambda: not any(folder.exists() for folder in folders), "its temporary folders go")


def test_a_part_that_fails_stops_all_and_shows_its_last_words(dev: Callable[..., Dev], tmp_path: Path) -> None:
    run = dev(WORKER + FAILING).up()
    (tmp_path / "fail").touch()
    assert run.end() == (1, "Projections ended by itself: exit code 3.\n    one\n    ready\n    last words\n")
    assert all_gone(run.family)


@pytest.mark.parametrize(
    ("part", "words"), [("PostgreSQL", "bin/postgres -D"), ("Temporal", "server start-dev"), ("Worker", "time.sleep")]
)
def test_a_part_that_is_killed_stops_all_and_is_named(dev: Callable[..., Dev], part: str, words: str) -> None:
    run = dev(WORKER).up()
    os.kill(run.child(words), signal.SIGKILL)
    code, error = run.end()
    assert code == 1
    assert error.splitlines()[0] == f"{part} ended by itself: killed by SIGKILL."
    wait_until(lambda: all_gone(run.family), "every process of the run ends")


def test_a_part_with_restart_is_started_again_when_it_is_killed(dev: Callable[..., Dev]) -> None:
    run = dev(WORKER + "restart = true").up()
    os.kill(run.child("time.sleep"), signal.SIGKILL)
    pid = int(run.read_to("Worker").split()[-1])
    assert is_running(pid)
    assert run.interrupt() == (0, "")
    assert all_gone({pid, *run.family})


def test_a_state_folder_survives_kill_9(dev: Callable[..., Dev]) -> None:
    run = dev("", "--state", "state").up()
    with psycopg.connect(run.value("PostgreSQL")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    run.process.kill()
    # At once, while the servers of the killed run are still stopping.
    again = dev("", "--state", "state").up()
    with psycopg.connect(again.value("PostgreSQL")) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert again.interrupt() == (0, "")


def test_a_second_run_on_a_state_folder_is_refused_in_one_line(dev: Callable[..., Dev], tmp_path: Path) -> None:
    first = dev("", "--state", "state").up()
    code, error = dev("", "--state", "state").end()
    assert code == 1
    assert error == (
        f"counteract dev cannot use {tmp_path}/state: another run (process {first.process.pid}) is using it."
        " Choose another folder with --state.\n"
    )
    assert first.interrupt() == (0, "")


def test_a_port_that_is_taken_is_refused_in_one_line(dev: Callable[..., Dev]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, error = dev("", "--port", str(port)).end()
    assert code == 1
    assert error == f"Temporal did not start: port {port} of 127.0.0.1 is taken. Choose another one with --port.\n"


def test_a_state_folder_that_is_a_file_is_refused_in_one_line(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    code, error = dev("", "--state", "state").end()
    assert code == 1
    assert error == "counteract dev cannot keep its state in state: File exists. Choose another folder with --state.\n"


def test_another_shell_reaches_it_all_through_the_environment_file(dev: Callable[..., Dev], tmp_path: Path) -> None:
    run = dev(PROVIDER, "--env", "dev.env").up()
    told = subprocess.run(
        ["bash", "-c", '. ./dev.env; echo "$DATABASE_URL"; echo "$TEMPORAL_ADDRESS"; echo "$PROVIDER_PORT"'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert told == [run.value("PostgreSQL"), run.value("Temporal"), re.findall(r":(\d+)/", run.value("Provider"))[0]]
    assert run.interrupt() == (0, "")
    assert not (tmp_path / "dev.env").exists()


def test_an_environment_file_that_cannot_be_written_is_refused_in_one_line(dev: Callable[..., Dev]) -> None:
    code, error = dev("", "--env", "no/such/folder").end()
    assert code == 1
    assert error == (
        "counteract dev cannot write no/such/folder: No such file or directory. Choose another file with --env.\n"
    )


def test_settings_that_do_not_fit_are_refused_before_anything_starts(dev: Callable[..., Dev]) -> None:
    run = dev("[tool.counteract.dev]\nport = 1")
    code, error = run.end()
    assert code == 1
    assert error.splitlines()[0] == "[tool.counteract.dev] in pyproject.toml:"
    assert not run.lines
