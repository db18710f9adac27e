"""The order of the test files: the longest first, since one that comes last would leave all processes but one idle.

How long each takes is in `durations.json`, which a run with `--record-durations` keeps up to date. A file that is not
in it comes before all others.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

import pytest

DURATIONS = Path(__file__).with_name("durations.json")


class Recorder:
    """Adds up what the tests of each file take, and writes it beside what is known of files that were not run."""

    def __init__(self, durations: Path, root: Path) -> None:
        self._durations = durations
        self._root = root
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[_file_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        # Tests that were stopped, or failed, may have taken less than they do.
        if exitstatus == pytest.ExitCode.OK:
            rounded = {file: round(seconds) for file, seconds in self._seconds.items()}
            known = {file: seconds for file, seconds in _known(self._durations).items() if (self._root / file).exists()}
            self._durations.write_text(json.dumps(known | rounded, indent=2, sort_keys=True) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-durations", action="store_true", help="record how long each test file takes, for the order of files"
    )


def pytest_configure(config: pytest.Config) -> None:
    # The processes of pytest-xdist report to the one that started them.
    if config.getoption("--record-durations") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(DURATIONS, config.rootpath))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items, _known(DURATIONS))


def longest_first(items: list[pytest.Item], seconds: dict[str, int]) -> None:
    items.sort(key=lambda item: -seconds.get(_file_of(item.nodeid), math.inf))


def _file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def _known(durations: Path) -> dict[str, int]:
    known: dict[str, int] = json.loads(durations.read_text())
    return known
