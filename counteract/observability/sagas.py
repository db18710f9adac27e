"""Metrics of recovery, and of what a store forgot."""

from __future__ import annotations

from typing import Literal

from opentelemetry.metrics import get_meter

_meter = get_meter("counteract")
_looks = _meter.create_counter(
    "counteract.recovery.looked_at",
    unit="{saga}",
    description="Sagas without an end that a round of recovery looked at.",
)
_found = _meter.create_counter(
    "counteract.recovery.found",
    unit="{saga}",
    description="Of those the ones that nobody carries on: `lost` is to be recovered, `left` waits for a person.",
)
_claims = _meter.create_counter(
    "counteract.recovery.claims",
    unit="{saga}",
    description="Lost sagas that a recovery took up, by the state that their record had.",
)
_late = _meter.create_counter(
    "counteract.recovery.late_effects",
    unit="{effect}",
    description="Effects that came after their undo and still stood.",
)
_lost = _meter.create_counter(
    "counteract.commands.lost",
    unit="{command}",
    description="Commands of which a saga knows more than the store: commits were lost.",
)


def count_looked_at(sagas: int) -> None:
    """Count sagas whose record a round of recovery has looked at."""
    _looks.add(sagas)


def count_found(outcome: Literal["lost", "left"], sagas: int) -> None:
    """Count sagas that nobody carries on: `lost` ones are recovered, `left` ones wait for a person."""
    _found.add(sagas, {"outcome": outcome})


def count_claim(state: str) -> None:
    """Count a lost saga that was claimed, by the state of its record."""
    _claims.add(1, {"state": state})


def count_late_effects(effects: int) -> None:
    """Count effects that came after their undo."""
    _late.add(effects)


def count_lost_command(activity_type: str) -> None:
    """Count a command that the store has lost, by the type of its activity."""
    _lost.add(1, {"activity_type": activity_type})
