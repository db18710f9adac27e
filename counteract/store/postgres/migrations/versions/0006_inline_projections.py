"""Inline projections, which are kept up to date by appends."""

from __future__ import annotations

from alembic import op

revision = "0006_inline_projections"
down_revision = "0005_leases_and_parked_events"


def upgrade() -> None:
    """Make the table of inline projections."""
    op.execute("""
        create table inline_projections (
            name         text         not null,
            event_types  text[]       not null,
            since        timestamptz  not null default clock_timestamp(),
            constraint inline_projections_pkey primary key (name)
        )
    """)
