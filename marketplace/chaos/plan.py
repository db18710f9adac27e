"""The plan of a storm: how much, and of what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

LONG_PACE = 2.0
"""Seconds from fault to fault where their number is given."""
CALM = 900.0
"""Seconds that a storm whose faults are counted leaves to its last sagas."""


class Kind(StrEnum):
    """The kinds of faults, one word each for the command line."""

    KILL = "kill"
    FREEZE = "freeze"
    CUT = "cut"
    FAILOVER = "failover"
    RESTORE = "restore"
    CANCEL = "cancel"
    TERMINATE = "terminate"
    RESET = "reset"
    HANDLERS = "handlers"
    RETRY = "retry"
    NAMESPACES = "namespaces"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Plan:
    """The extent of a run.

    Sagas that have not ended `seconds` after the begin are not waited for; a run may well be over sooner.
    """

    seed: int
    sagas: int
    seconds: float
    storm: float
    """Seconds, of those, in which customers come, and faults with them; the rest is for what is left to be done."""
    pairs: float
    """Seconds, of those, for pairs of faults."""
    faults: int | None = None
    """The number of faults; None: as many as there is time for."""
    kinds: frozenset[Kind] = frozenset(Kind)
    logs: Path | None = None
    at_once: int | None = None
    """The number of customers under way; None: as many as the machine has room for."""

    @property
    def pace(self) -> float:
        """Seconds from fault to fault: a short run deals the deck at least once, and a long one several times."""
        return self.storm / self.faults if self.faults else min(3.0, self.storm / 20)

    @property
    def freeze(self) -> tuple[float, float]:
        """Past the heartbeat timeout of the payment service's activities, and in long runs past that of all."""
        return (6.0, 13.0) if self.storm > 60 else (4.0, 6.0)

    @property
    def scale(self) -> int:
        """The factor by which there must be more of everything, so that there is stock for the last customer."""
        return 1 + self.sagas // 300
