"""What a projection's rows are written to, if not to a table of PostgreSQL."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from counteract.errors import ConfigurationError, CounteractError, StoreUnavailable
from counteract.projections.operations import Operation
from counteract.projections.sinks.layout import Layout

_logger = logging.getLogger("counteract.projections")


class SinkUnavailable(StoreUnavailable):
    """The server that has a projection's rows cannot be reached, or refuses to work for now: it is tried again."""


class RowRefused(CounteractError):
    """The server that has a projection's rows does not take one: correct the handler, or how the field is declared."""


class Positioned(NamedTuple):
    """An operation, and the position of the event that it follows from."""

    position: int
    operation: Operation


class Shown(NamedTuple):
    """How far a sink's rows have come."""

    position: int
    event_id: str = ""
    """Of the event there, by which it is known whether it is of the log of now; empty where that is not known."""


class Sink(Protocol):
    """The rows of one projection.

    Batches come at least once, again perhaps with other ends, and perhaps from a process that another has replaced. Each
    operation must take effect once all the same. Raises SinkUnavailable for what will be well again by itself, and
    RowRefused for what will not.
    """

    async def prepare(self, layout: Layout, code: str) -> Shown | None:
        """Called before the first batch, and again after each failure. `code` is a fingerprint of what makes the rows.

        Returns up to where it shows all events that it was given; None where it cannot have lost any.
        """

    async def write(self, operations: Sequence[Positioned], *, up_to: Shown) -> None:
        """Apply the operations, in order: of all events from where the batch before ended, up to one; or of some
        before. None are given where these change no row.
        """

    async def write_late(self, operations: Sequence[Positioned]) -> None:
        """Apply the operations of one event that could not be handled in its turn: it is not among those shown."""

    async def watch(self) -> None:
        """Called every few seconds. Raises SinkUnavailable if rows are lost that were there."""

    async def erase(self) -> None:
        """Remove all rows, and all that is known of them."""

    async def close(self) -> None:
        """Give connections back. It may be used again."""


def report_change(layout: Layout, known: str | None, code: str) -> None:
    """That rows are there which other code has made."""
    if known not in (None, code):
        _logger.warning(
            "projection %r: its code has changed since its rows were made: fill another place under a second name, or "
            "`counteract projections drop %s`, and they are made anew",
            layout.name,
            layout.name,
        )


def missing_extra(extra: str, error: ModuleNotFoundError) -> ConfigurationError:
    """The error of a client that is not installed."""
    return ConfigurationError(
        f"projections in {extra}", [f"{error.name} is missing: pip install 'counteract[{extra}]'"]
    )
