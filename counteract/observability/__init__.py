"""Metrics of the engine, through OpenTelemetry: nothing is kept until the application sets up an SDK."""

from counteract.observability.event_store import Delayed, appending, observe_delay
from counteract.observability.sagas import (
    count_claim,
    count_found,
    count_late_effects,
    count_looked_at,
    count_lost_command,
)
from counteract.observability.subscriptions import Lagging, count_breach, count_parked, observe_lag

__all__ = [
    "Delayed",
    "Lagging",
    "appending",
    "count_breach",
    "count_claim",
    "count_found",
    "count_late_effects",
    "count_looked_at",
    "count_lost_command",
    "count_parked",
    "observe_delay",
    "observe_lag",
]
