"""The terms on which a process delivers one subscription."""

from __future__ import annotations

from dataclasses import dataclass

from counteract.store.postgres.vault import Vault
from counteract.subscriptions.health import Health
from counteract.subscriptions.lag import Lag
from counteract.subscriptions.pairs import Limits
from counteract.subscriptions.subscriber import Subscriber


@dataclass(frozen=True, slots=True)
class Polling:
    """The seconds for which a subscription with nothing to do waits, unless a notification ends the wait."""

    longest: float = 0.25
    """The longest wait while nothing is appended."""
    unsettled: float = 0.005
    """The shortest wait while an append is under way that the next events have to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms that all shards of a subscription have in common in one process."""

    subscriber: Subscriber
    batch_size: int
    """Events in one batch, at the most."""
    attempts: int
    """Deliveries of a batch as a whole, before its events are handled one by one and those that fail are parked."""
    longest_batch: float
    """Seconds for which a process may stand still within a batch. All of it may take three times as long."""
    polling: Polling
    vault: Vault
    health: Health
    lag: Lag

    @property
    def limits(self) -> Limits:
        """The limits that the database holds the connections of a shard to."""
        return Limits(idle=self.longest_batch, whole=3 * self.longest_batch)
