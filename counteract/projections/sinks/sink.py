"""The port of sinks: places for a projection's rows other than a table of PostgreSQL."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from counteract.errors import ConfigurationError, CounteractError, StoreUnavailable
from counteract.projections.operations import Operation
from counteract.projections.sinks.layout import Layout

_logger = logging.getLogger("counteract.projections")


class SinkUnavailable(StoreUnavailable):
    """The server with a projection's rows cannot be reached, or refuses to work for now: it is tried again."""


class RowRefused(CounteractError):
    """The server with a projection's rows does not take one: correct the handler, or how the field is declared."""


class Positioned(NamedTuple):
    """An operation, and the position of the event that it follows from."""

    position: int
    operation: Operation


class Shown(NamedTuple):
    """The position that a sink's rows have come to."""

    position: int
    event_id: str = ""
    """The id of the event there, which tells whether it is of this log; empty where it is not known."""


class Sink(Protocol):
    """The rows of one projection.

    Batches come at least once, again perhaps with other ends, and perhaps from a process that another has replaced.
    Each operation must take effect once all the same. Raises SinkUnavailable for trouble that passes by itself, and
    RowRefused for any other.
    """

    async def prepare(self, layout: Layout, code: str) -> Shown | None:
        """Get ready, before the first batch and again after each failure. `code` is the fingerprint of the code that
        makes the rows.

        Returns the position up to which it shows all events that it was given; None where it cannot have lost any.
        """

    async def write(self, operations: Sequence[Positioned], *, up_to: Shown) -> None:
        """Apply the operations, in order.

        They are those of all events after the batch before, up to one; or of some that were written before. There are
        none where the events change no row.
        """

    async def write_late(self, operations: Sequence[Positioned]) -> None:
        """Apply the operations of one event that could not be handled in its turn: it is not among those shown."""

    async def watch(self) -> None:
        """Look after the rows, every few seconds. Raises SinkUnavailable if rows that were there are lost."""

    async def erase(self) -> None:
        """Remove all rows, and all that is known of them."""

    async def close(self) -> None:
        """Give connections back. The sink may be used again."""


def report_change(layout: Layout, known: str | None, code: str) -> None:
    """Log that other code has made the rows."""
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
