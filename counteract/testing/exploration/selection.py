"""The selection of a saga's faults that an exploration tries."""

from __future__ import annotations

import difflib
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations

from counteract.errors import ConfigurationError
from counteract.testing.exploration.faults import Fault

Pair = tuple[Fault, Fault]


@dataclass(frozen=True, slots=True)
class Choice:
    """The part of `explore`'s arguments that selects faults."""

    only: str | None = None
    singles: bool = True
    pairs: int | None = 0
    """The number of pairs; None: all of them, in random order."""
    seed: int = 0

    def among(self, singles: Sequence[Fault]) -> list[Fault]:
        """The faults to try, given all single ones. Raises ConfigurationError where `only` names no fault."""
        if self.only is not None:
            return _named(self.only, singles)
        return [*(singles if self.singles else ()), *self._drawn(singles)]

    def _drawn(self, singles: Sequence[Fault]) -> list[Fault]:
        if self.pairs == 0:
            return []
        every = pairs_of(singles)
        count = len(every) if self.pairs is None else min(self.pairs, len(every))
        return [one + other for one, other in random.Random(self.seed).sample(every, count)]  # noqa: S311 - no secret


def pairs_of(singles: Sequence[Fault]) -> list[Pair]:
    """Every two faults that can strike in one run."""
    return [(one, other) for one, other in combinations(singles, 2) if one.can_meet(other)]


def _named(only: str, singles: Sequence[Fault]) -> list[Fault]:
    """The faults that match; for the two names of a pair, the pairs of the faults that match them."""
    first, *second = (_matching(name, singles) for name in only.split(" + "))
    return [one + other for one in first for other in second[0]] if second else first


def _matching(pattern: str, singles: Sequence[Fault]) -> list[Fault]:
    found = [each for each in singles if fnmatchcase(str(each), pattern)]
    if not found:
        problem = f"{pattern!r}: {_similar(pattern, list(map(str, singles)))}"
        raise ConfigurationError("the saga has no such fault", [problem])
    return found


def _similar(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"there are {', '.join(known)}"
