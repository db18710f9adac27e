"""Options for explorations in a test session: `addopts = ["-p", "counteract.testing.pytest_plugin"]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counteract.testing.exploration.options import OPTIONS

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("counteract")
    group.addoption(
        "--explore-pairs",
        type=int,
        default=0,
        metavar="N",
        help="beside every single fault, have each explore() run N pairs of faults",
    )
    group.addoption("--explore-seed", type=int, default=0, metavar="S", help="draw other pairs (default: 0)")


def pytest_configure(config: pytest.Config) -> None:
    OPTIONS.pairs = config.getoption("--explore-pairs")
    OPTIONS.seed = config.getoption("--explore-seed")
