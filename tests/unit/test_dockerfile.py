"""The Dockerfile, held against the project that it copies and the compose file that runs it: no engine builds it here."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
import yaml

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
APPLICATION = {name: service for name, service in SERVICES.items() if "build" in service}


@dataclass(frozen=True, slots=True)
class Instruction:
    stage: int
    keyword: str
    rest: str


def instructions() -> Iterator[Instruction]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stage = -1
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line or line.startswith("#"):
            continue
        keyword, _, rest = line.partition(" ")
        stage += keyword == "FROM"
        yield Instruction(stage, keyword, rest)


DOCKERFILE = list(instructions())
LAST = max(each.stage for each in DOCKERFILE)
PATTERNS = [
    each for each in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if not each.startswith("#")
]


def of(keyword: str, *, stage: int = LAST) -> list[str]:
    return [each.rest for each in DOCKERFILE if (each.stage, each.keyword) == (stage, keyword)]


def copied(*, stage: int = LAST) -> set[str]:
    """What comes from the project, as paths from its root."""
    copies = [rest.split()[:-1] for rest in of("COPY", stage=stage) if not rest.startswith("--from")]
    return {source.rstrip("/") for sources in copies for source in sources}


def reaches_the_builder(path: str) -> bool:
    """As Docker decides: by the last pattern that fits the path or a folder around it."""
    around = [path, *map(str, PurePosixPath(path).parents)]
    fitting = [line for line in PATTERNS if any(fnmatch(each, line.removeprefix("!")) for each in around)]
    return not fitting or fitting[-1].startswith("!")


def imported_by(sources: Sequence[Path]) -> set[str]:
    """The project's own modules at the top that these files import."""
    nodes = [node for source in sources for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))]
    names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {top for name in names if (top := name.partition(".")[0]) and (ROOT / top).is_dir()}


@pytest.mark.parametrize("stage", range(LAST + 1))
def test_a_stage_begins_with_a_pinned_python(stage: int) -> None:
    [default] = [each.rest for each in DOCKERFILE if each.keyword == "ARG" and each.rest.startswith("PYTHON_VERSION=")]
    [base] = of("FROM", stage=stage)

    assert re.fullmatch(r"python:\$\{PYTHON_VERSION\}( AS \w+)?", base)
    assert re.fullmatch(r"PYTHON_VERSION=3\.13\.\d+-slim-\w+", default)


@pytest.mark.parametrize("source", sorted(copied() | copied(stage=0)))
def test_what_is_copied_exists_and_reaches_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    assert reaches_the_builder(source)


@pytest.mark.parametrize("line", [line[1:] for line in PATTERNS if line.startswith("!")])
def test_nothing_reaches_the_builder_that_is_not_copied(line: str) -> None:
    assert line in copied() | copied(stage=0)


@pytest.mark.parametrize("path", [".env", ".git/config", "tests/market.py", "docker-compose.yml"])
def test_what_does_not_run_stays_outside(path: str) -> None:
    assert not reaches_the_builder(path)


def test_everything_that_is_imported_is_in_the_image() -> None:
    packaged = set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    sources = [file for path in copied() for file in (ROOT / path).rglob("*.py")]
    sources += [ROOT / path for path in copied() if path.endswith(".py")]

    assert packaged <= copied(stage=0)
    assert imported_by(sources) <= copied() | packaged


def test_everything_that_is_run_is_in_the_image() -> None:
    commands = [service["command"] for service in APPLICATION.values()]
    commands += [service["healthcheck"]["test"][1:] for service in APPLICATION.values() if "healthcheck" in service]
    modules = {command[2].replace(".", "/") for command in commands if command[1] == "-m"}
    scripts = {command[1] for command in commands if command[1].endswith(".py")}

    assert scripts <= copied()
    assert all(module in copied() or f"{module}.py" in copied() for module in modules)


def test_the_wheel_finds_the_files_that_the_project_names() -> None:
    project = PYPROJECT["project"]

    assert {"pyproject.toml", project["readme"], *project["license-files"]} <= copied(stage=0)


def test_everything_installed_is_checked_by_its_hash() -> None:
    installs = " && ".join(of("RUN", stage=0))

    assert "--require-hashes --only-binary :all: -r requirements/app.txt" in installs
    assert "--build-constraint requirements/dev.txt" in installs
    assert "install --no-deps --no-index wheels/*.whl" in installs


def test_the_image_installs_no_tools() -> None:
    assert not re.search(r"\b(apt-get|apk|pip|curl)\b", " ".join(of("RUN")))


def test_it_does_not_run_as_root() -> None:
    [user] = of("USER")

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert f"--uid {user.partition(':')[0]} " in " ".join(of("RUN"))


def test_its_program_gets_its_signals_and_shows_its_output_at_once() -> None:
    [command] = of("CMD")

    assert json.loads(command)[0] == "python"
    assert "PYTHONUNBUFFERED=1" in " ".join(of("ENV")).split()
