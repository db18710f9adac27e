"""The options of a test session, which hold for every exploration in it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Options:
    """Options of a session; the pytest plugin sets them once."""

    pairs: int = 0
    """How many pairs of faults every exploration adds."""
    seed: int = 0
    """The seed with which they are drawn."""
    show: bool = False
    """Whether the session shows the tables of explorations that pass."""
    shown: list[str] = field(default_factory=list)
    """The tables of the test that runs."""


OPTIONS = Options()
