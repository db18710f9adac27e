"""The longest test files come first, as a tool has measured them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.file_order import Recorder, longest_first

pytestmark = pytest.mark.unit


def item(nodeid: str) -> Any:
    return SimpleNamespace(nodeid=nodeid)


def report(nodeid: str, duration: float) -> Any:
    return SimpleNamespace(nodeid=nodeid, duration=duration)


@pytest.fixture
def durations(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"tests/test_{name}.py").touch()
    file = tmp_path / "durations.json"
    file.write_text(json.dumps({"tests/test_a.py": 5, "tests/test_b.py": 7, "tests/test_moved.py": 9}))
    return file


def test_a_file_that_was_never_measured_comes_first_and_then_the_longest() -> None:
    items = [item(f"tests/{name}") for name in ("short.py::one", "long.py::two", "long.py::one", "new.py::one")]
    longest_first(items, {"tests/short.py": 1, "tests/long.py": 100})
    assert [each.nodeid for each in items] == [
        "tests/new.py::one",
        "tests/long.py::two",
        "tests/long.py::one",
        "tests/short.py::one",
    ]


def test_what_was_measured_stands_beside_what_was_known_of_files_that_are_there(durations: Path) -> None:
    recorder = Recorder(durations, durations.parent)
    for nodeid, seconds in [("tests/test_a.py::one", 1.2), ("tests/test_a.py::one", 20.4), ("tests/test_c.py::x", 0.1)]:
        recorder.pytest_runtest_logreport(report(nodeid, seconds))
    recorder.pytest_sessionfinish(exitstatus=0)
    assert json.loads(durations.read_text()) == {"tests/test_a.py": 22, "tests/test_b.py": 7, "tests/test_c.py": 0}


def test_a_run_with_failures_changes_nothing(durations: Path) -> None:
    before = durations.read_text()
    recorder = Recorder(durations, durations.parent)
    recorder.pytest_runtest_logreport(report("tests/test_a.py::one", 20))
    recorder.pytest_sessionfinish(exitstatus=1)
    assert durations.read_text() == before
