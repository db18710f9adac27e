"""A snapshot says who has written it, to whoever has the master key."""

from alembic import op

revision = "0011_signed_snapshots"
down_revision = "0010_open_sagas_on_record"


def upgrade() -> None:
    op.execute("alter table snapshots add column if not exists signature bytea")
