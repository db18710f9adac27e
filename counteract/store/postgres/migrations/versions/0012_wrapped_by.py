"""The master key that has wrapped a person's key, so that it is known when an earlier one can go."""

from __future__ import annotations

from alembic import op

revision = "0012_wrapped_by"
down_revision = "0011_signed_snapshots"


def upgrade() -> None:
    """Add the column."""
    # Without a default, which takes a moment and rewrites nothing.
    op.execute("alter table personal_keys add column if not exists wrapped_by text")
