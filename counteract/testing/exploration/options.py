"""What a test session asks of every exploration in it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Options:
    """Set once, by the pytest plugin."""

    pairs: int = 0
    """How many pairs of faults every exploration adds."""
    seed: int = 0
    """What they are drawn with."""
    show: bool = False
    """Whether the session shows the tables of explorations that pass."""
    shown: list[str] = field(default_factory=list)
    """The tables of the test that runs."""


OPTIONS = Options()
