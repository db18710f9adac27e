"""Signatures of snapshots, by which a process with the master key knows that another such process wrote them."""

from alembic import op

revision = "0011_signed_snapshots"
down_revision = "0010_open_sagas_on_record"


def upgrade() -> None:
    """Add the column."""
    op.execute("alter table snapshots add column if not exists signature bytea")
