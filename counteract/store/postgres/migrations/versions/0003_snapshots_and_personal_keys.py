"""Snapshots of aggregates' states, and the keys of personal data."""

from __future__ import annotations

from alembic import op

revision = "0003_snapshots_and_personal_keys"
down_revision = "0002_application_role"


def upgrade() -> None:
    """Make the tables of snapshots and of subjects' keys."""
    op.execute("""
        create table snapshots (
            aggregate_type  text        not null,
            aggregate_id    text        collate "C" not null,
            fingerprint     text        not null,
            version         integer     not null,
            state           text        not null,
            taken_at        timestamptz not null default clock_timestamp(),
            constraint snapshots_pkey primary key (aggregate_type, aggregate_id)
        )
    """)
    op.execute("""
        create table personal_keys (
            key_id        uuid        not null,
            subject       text        collate "C" not null,
            wrapped_key   bytea,
            created_at    timestamptz not null default clock_timestamp(),
            forgotten_at  timestamptz,
            constraint personal_keys_pkey primary key (key_id),
            constraint personal_keys_forgotten_check check ((wrapped_key is null) = (forgotten_at is not null))
        )
    """)
    op.execute("create unique index personal_keys_subject_idx on personal_keys (subject) where wrapped_key is not null")
