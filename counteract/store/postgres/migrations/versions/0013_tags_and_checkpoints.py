"""Tags, by which events are found, and checkpoints that consumers keep beside what they append."""

from __future__ import annotations

from alembic import op

revision = "0013_tags_and_checkpoints"
down_revision = "0012_wrapped_by"


def upgrade() -> None:
    """Make the two tables."""
    # There is no foreign key to the events: each append would ask for its lock, and tags outlive events that are
    # archived.
    op.execute("""
        create table event_tags (
            tag         text collate "C"  not null,
            position    bigint            not null,
            event_type  text              not null,
            constraint event_tags_pkey primary key (tag, position)
        )
    """)
    op.execute("""
        create table checkpoints (
            name      text collate "C"  not null,
            position  bigint            not null,
            moved_at  timestamptz       not null default clock_timestamp(),
            constraint checkpoints_pkey primary key (name)
        )
    """)
