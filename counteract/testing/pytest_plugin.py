"""Options for explorations in a test session: `addopts = ["-p", "counteract.testing.pytest_plugin"]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from counteract.testing.exploration.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Generator

    from _pytest.terminal import TerminalReporter

_SECTION = "Exploration"

pytest.register_assert_rewrite("counteract.testing.store_contract")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("counteract")
    group.addoption("--explore", action="store_true", help="show the table of every explore(), of those that pass too")
    group.addoption(
        "--explore-pairs",
        type=int,
        default=0,
        metavar="N",
        help="beside every single fault, have each explore() run N pairs of faults",
    )
    group.addoption("--explore-seed", type=int, default=0, metavar="S", help="draw other pairs (default: 0)")


def pytest_configure(config: pytest.Config) -> None:
    OPTIONS.show = config.getoption("--explore")
    OPTIONS.pairs = config.getoption("--explore-pairs")
    OPTIONS.seed = config.getoption("--explore-seed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the tables as sections of the report, which come to the terminal from processes of pytest-xdist too."""
    report = yield
    if call.when == "call" and report.passed:
        report.sections += [(_SECTION, shown) for shown in OPTIONS.shown]
    OPTIONS.shown.clear()
    return report


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, shown in report.sections:
            if name == _SECTION:
                terminalreporter.section(report.nodeid)
                terminalreporter.write_line(shown)
