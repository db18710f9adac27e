"""Leases on the shards of subscriptions, and events that were set aside."""

from __future__ import annotations

from alembic import op

revision = "0005_leases_and_parked_events"
down_revision = "0004_archived_streams"


def upgrade() -> None:
    """Add leases to subscriptions, and make the tables of their members and of parked events."""
    op.execute("""
        alter table subscriptions
            add column owner         uuid,
            add column owner_pid     integer,
            add column leased_until  timestamptz,
            add column paused        boolean not null default false,
            add column within_seconds  double precision
    """)
    op.execute("""
        create table subscription_members (
            name         text        not null,
            member       uuid        not null,
            alive_until  timestamptz not null,
            constraint subscription_members_pkey primary key (name, member)
        )
    """)
    op.execute("""
        create table parked_events (
            subscription    text        not null,
            position        bigint      not null,
            aggregate_type  text        not null,
            aggregate_id    text        collate "C" not null,
            error           text,
            parked_at       timestamptz not null default clock_timestamp(),
            redrive         boolean     not null default false,
            discarded_at    timestamptz,
            discarded_why   text,
            constraint parked_events_pkey primary key (subscription, position),
            constraint parked_events_discarded_check check ((discarded_at is null) = (discarded_why is null))
        )
    """)
    op.execute(
        "create index parked_events_subscription_aggregate_type_aggregate_id_idx"
        " on parked_events (subscription, aggregate_type, aggregate_id)"
    )
