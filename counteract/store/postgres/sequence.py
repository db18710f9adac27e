"""The sequence that positions come from, against the log that it numbers.

A copy by logical replication, or of the data alone, has the events and not the sequence. It would give positions away
again: appends fail until it has caught up, or fill holes behind readers that never look there again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection as Transaction
from sqlalchemy import text

from counteract.errors import SchemaOutdated
from counteract.store.postgres.connect import Connection

# The sequence is read as it is now, and the log as it was when the statement began, so an append in between is no
# contradiction.
POSITIONS = """
    select case when is_called then last_value else 0 end, coalesce((select max(position) from events), 0)
    from events_position_seq
"""
# Readers may have come further than what is left of the log.
_IS_BEHIND = text("""
    select greatest((select max(position) from events), (select max(position) from subscriptions))
         > (select case when is_called then last_value else 0 end from events_position_seq)
""")
_IS_THERE = text("select to_regclass('events_position_seq') is not null")
# Appends wait for the moment that it takes: a position that is drawn meanwhile would be drawn twice.
_BRING_FORWARD = """
lock table events in share row exclusive mode;
select setval('events_position_seq', greatest(
    (select max(position) from events), (select max(position) from subscriptions), (select last_value from events_position_seq)));
"""


class Positions(NamedTuple):
    """The last position that was drawn, and the last that has an event."""

    drawn: int
    stored: int

    @property
    def is_behind(self) -> bool:
        """Whether the sequence would give away positions that events have."""
        return self.drawn < self.stored

    def __str__(self) -> str:
        return f"the sequence of positions is at {self.drawn}, behind the log, which is at {self.stored}, as in a copy of its data alone"


def changes(connection: Transaction) -> Sequence[str]:
    """The statements for `migrate` that bring the sequence forward, where it was left behind."""
    is_behind = connection.scalar(_IS_THERE) and connection.scalar(_IS_BEHIND)
    return [_BRING_FORWARD] if is_behind else []


async def positions(connection: Connection) -> Positions:
    """The positions of the store that the connection leads to."""
    return Positions(*await (await connection.execute(POSITIONS)).fetchone() or (0, 0))


def refuse(seen: Positions) -> None:
    """Raises SchemaOutdated where the sequence is behind the log."""
    if seen.is_behind:
        raise SchemaOutdated(f"{seen}: run `counteract migrate`")
