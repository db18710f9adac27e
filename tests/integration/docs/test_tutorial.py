"""The tutorial, followed to the letter by a reader in an empty folder, in two terminals.

One thing is not as on the page: its installation needs a network. Instead the reader has this environment's packages, and
of Counteract itself the wheel that the installation would have built, unpacked in front of them. `make test-pythons` gives
them an environment in which Counteract really is installed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from counteract.messages import CommandKind
from counteract.testing.exploration.catalogue import catalogue
from counteract.testing.exploration.faults import NO_FAULT, Known
from tests.page import Change, Command, File, Interruption, Session, missing, parts
from tests.processes import all_gone, family

pytestmark = [pytest.mark.integration, pytest.mark.program]

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "tutorial.md"
INSTALLING = "pip install "
STAYS_UP = "counteract dev "
PROGRAMS = os.environ.get("COUNTERACT_TUTORIAL_PROGRAMS")
"""The folder of an environment in which Counteract is installed."""
# Of a reader's terminal: rich makes its tables as wide as it.
WIDTH = "120"
STEPS = [
    Known("ChargeCard", CommandKind.COMPENSATABLE, group=0, external=True, repeats=True),
    Known("CreditWallet", CommandKind.PIVOT, group=1, external=False, repeats=True),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installation from the checkout would build; by the backend of this environment, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        "wheel",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    (built,) = folder.glob("counteract-*.whl")
    return built


@pytest.fixture
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of a shell in which Counteract can be used."""
    if PROGRAMS:
        return {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    unpacked = tmp_path / "installed"
    with zipfile.ZipFile(request.getfixturevalue("wheel")) as packed:
        packed.extractall(unpacked)
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(unpacked)}


@pytest.fixture
def reader(installed: dict[str, str], tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "top-up"
    folder.mkdir()
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TEMPORAL_", "DATABASE_"))
    }
    terminal = {
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": WIDTH,
        # A terminal, as the reader has one, without colours.
        "TTY_COMPATIBLE": "1",
        "TERM": "dumb",
    }
    with ExitStack() as stack:
        yield Reader(folder, own | installed | terminal, stack)


class Reader:
    """Somebody who does what the page says, and compares."""

    def __init__(self, folder: Path, environment: dict[str, str], stack: ExitStack) -> None:
        self._folder = folder
        self._environment = environment
        self._stack = stack
        self._shell = self._start("bash")
        self._server: subprocess.Popen[str] | None = None

    def follow(self, page: Path) -> None:
        for part in parts(page):
            match part:
                case File():
                    (self._folder / part.name).write_text(part.text)
                case Change():
                    file = self._folder / part.name
                    file.write_text(part.applied_to(file.read_text()))
                case Session():
                    self._type(part)
                case Interruption():
                    self._interrupt()

    def _type(self, session: Session) -> None:
        if any(command.line.startswith(INSTALLING) for command in session.commands):
            return
        for command in session.commands:
            output = self._serve(command) if command.line.startswith(STAYS_UP) else self._run(command)
            line = missing(command.output, output)
            assert line is None, f"$ {command.line}\n\nThe page shows:\n{line}\n\nThere was:\n{output}"

    def _run(self, command: Command) -> str:
        """What it printed. A command of which the page shows nothing must succeed."""
        assert self._shell.stdin
        assert self._shell.stdout
        # In this shell itself, which is to keep what the command sets.
        self._shell.stdin.write(f'{{ {command.line}\n}} </dev/null 2>&1\necho "exit code $?"\n')
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if ended := re.fullmatch(r"(.*)exit code (\d+)\n", line):
                assert command.output or ended[2] == "0", f"$ {command.line}\n{line}"
                return "".join([*lines, ended[1]])
            lines.append(line)
        raise AssertionError(f"$ {command.line}\nended the shell:\n{''.join(lines)}")

    def _serve(self, command: Command) -> str:
        """What it printed until as many lines were there as the page shows; it goes on."""
        self._server = self._start(*command.line.split())
        assert self._server.stdout
        return "".join(line for _, line in zip(command.output, self._server.stdout, strict=False))

    def _interrupt(self) -> None:
        """As the terminal does it: everything in the group of the server."""
        assert self._server
        processes = family(self._server.pid)
        os.killpg(self._server.pid, signal.SIGINT)
        rest, _ = self._server.communicate(timeout=30)
        assert (self._server.returncode, rest) == (0, "")
        assert all_gone(processes)

    def _start(self, *command: str) -> subprocess.Popen[str]:
        process = self._stack.enter_context(
            subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        self._stack.callback(_end, process)
        return process


def _end(process: subprocess.Popen[str]) -> None:
    """With whatever it has started in its group; embedded servers end with the process that started them."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


# It explores twice, and shares its two cores with other tests.
@pytest.mark.timeout(600)
def test_the_tutorial_does_what_it_says_and_shows_what_comes_out(reader: Reader) -> None:
    reader.follow(PAGE)


def test_the_tutorial_explains_every_fault_that_explore_tries_on_its_saga() -> None:
    rows = re.findall(r"^\| (.+?) \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    explained = {name.strip() for row in rows for name in row.split("·")}
    tried = {fault.name for fault in [NO_FAULT, *catalogue(STEPS, has_deadline=False)]}

    assert tried - explained == set()


def test_the_wheel_holds_the_whole_engine_and_nothing_else(wheel: Path) -> None:
    source = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "counteract").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}

    assert names == source


def test_the_extras_that_the_tutorial_installs_exist() -> None:
    (wanted,) = re.findall(r'pip install ".*\[(.*)\]"', PAGE.read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert set(wanted.split(",")) <= set(project["optional-dependencies"])
