"""What a test session asks of every exploration in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Options:
    """Set once, by the pytest plugin."""

    pairs: int = 0
    """How many pairs of faults every exploration adds."""
    seed: int = 0
    """What they are drawn with."""


OPTIONS = Options()
