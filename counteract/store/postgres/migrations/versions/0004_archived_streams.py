"""The record of archived streams."""

from __future__ import annotations

from alembic import op

revision = "0004_archived_streams"
down_revision = "0003_snapshots_and_personal_keys"


def upgrade() -> None:
    """Make the table of archived streams."""
    op.execute("""
        create table archived_streams (
            aggregate_type  text        not null,
            aggregate_id    text        collate "C" not null,
            last_version    integer     not null,
            first_position  bigint      not null,
            last_position   bigint      not null,
            digest          bytea       not null,
            file            text        not null,
            archived_at     timestamptz not null default clock_timestamp(),
            constraint archived_streams_pkey primary key (aggregate_type, aggregate_id)
        )
    """)
