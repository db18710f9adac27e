"""The event store: events, commands, subscriptions."""

from __future__ import annotations

from alembic import op

revision = "0001_event_store"
down_revision = None

# Written out, not taken from schema.py: a migration must still do the same when the declaration has moved on.
_TABLES = """
create table events (
    position        bigint      generated always as identity (cache 1),
    event_id        uuid        not null,
    aggregate_type  text        not null,
    aggregate_id    text        collate "C" not null,
    version         integer     not null,
    event_type      text        not null,
    schema_version  smallint    not null,
    event_data      jsonb       not null,
    metadata        jsonb       not null,
    created_at      timestamptz not null default clock_timestamp(),
    constraint events_pkey primary key (position),
    constraint events_event_id_key unique (event_id),
    constraint events_aggregate_type_aggregate_id_version_key unique (aggregate_type, aggregate_id, version)
);
create index events_correlation_id_idx on events ((metadata ->> 'correlation_id'));

create table commands (
    command_id     uuid        not null,
    status         text        not null,
    saga_id        text        not null,
    saga_type      text        not null,
    step           text        not null,
    activity_type  text        not null,
    task_queue     text        not null,
    undoes         uuid,
    command        jsonb       not null,
    result         jsonb,
    started_at     timestamptz,
    recorded_at    timestamptz not null default clock_timestamp(),
    constraint commands_pkey primary key (command_id),
    constraint commands_status_check check (status in ('started', 'done', 'rejected', 'fenced'))
);
create index commands_saga_id_idx on commands (saga_id);
create index commands_undoes_idx on commands (undoes) where undoes is not null;

create table subscriptions (
    name        text        not null,
    shard       integer     not null default 0,
    position    bigint      not null default 0,
    epoch       bigint      not null default 0,
    updated_at  timestamptz not null default clock_timestamp(),
    constraint subscriptions_pkey primary key (name, shard)
);
"""


def upgrade() -> None:
    """Make the tables of events, commands and subscriptions."""
    for statement in _TABLES.split(";"):
        if statement.strip():
            op.execute(statement)
