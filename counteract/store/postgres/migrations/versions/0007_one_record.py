"""One record for each saga, which every step of it is held against."""

from __future__ import annotations

from alembic import op

revision = "0007_one_record"
down_revision = "0006_inline_projections"

_RECORD = """
create table sagas (
    saga_id         text         collate "C" not null,
    run_id          text         collate "C" not null,
    namespace       text,
    saga_type       text         not null,
    state           text         not null,
    epoch           integer      not null,
    last_run        text         not null,
    parent_command  uuid,
    parent_saga_id  text         collate "C",
    parent_run_id   text         collate "C",
    parent_step     text,
    child           jsonb,
    began_at        timestamptz  not null default clock_timestamp(),
    since           timestamptz  not null default clock_timestamp(),
    who             text,
    why             text,
    constraint sagas_pkey primary key (saga_id, run_id),
    constraint sagas_state_check check (state in (
        'forward', 'at the pivot', 'past the pivot', 'turning back', 'completed', 'compensated', 'never'))
);
create unique index sagas_parent_command_idx on sagas (parent_command) where parent_command is not null;
create index sagas_parent_idx on sagas (parent_saga_id, parent_run_id) where parent_saga_id is not null;
create index sagas_open_idx on sagas (began_at, saga_id, run_id) where state not in ('completed', 'compensated', 'never');

alter table commands
    alter column command drop not null,
    add column run_id text,
    add column kind text,
    add column epoch integer,
    add column begun integer,
    add column undone_since timestamptz,
    add column late_since timestamptz,
    add column lost boolean
"""


def upgrade() -> None:
    """Change tables alone, which takes a moment. Sagas under way get their records later: 0010_open_sagas_on_record."""
    for statement in _RECORD.split(";"):
        op.execute(statement)
