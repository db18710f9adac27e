"""New bodies of the functions of sagas.

They know every pivot that may stand, children that were called off, skipped or lost, and late effects that a person
closes.
"""

from __future__ import annotations

revision = "0015_pivots_that_may_stand"
down_revision = "0014_events_are_objects"


def upgrade() -> None:
    """Change nothing here: the functions have new bodies, and `check_schema` tells where they are not in place yet."""
