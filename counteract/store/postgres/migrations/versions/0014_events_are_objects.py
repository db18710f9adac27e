"""A constraint that keeps out events which no reader could ever read, whatever calls the functions that append."""

from __future__ import annotations

from alembic import op

revision = "0014_events_are_objects"
down_revision = "0013_tags_and_checkpoints"


def upgrade() -> None:
    """Add the constraint."""
    # Not valid: stored events are not looked at under the lock, and odd ones among them are parked by their readers.
    op.execute("""
        alter table events add constraint events_are_objects
            check (jsonb_typeof(event_data) = 'object' and jsonb_typeof(metadata) = 'object') not valid
    """)
