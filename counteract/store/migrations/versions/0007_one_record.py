"""One record for each saga, which every step of it is held against; sagas that are under way get theirs."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from counteract.messages import command_id_of

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
    add column lost boolean;
create index commands_late_since_idx on commands (late_since) where late_since is not null
"""
_OPEN = """
    select started.aggregate_id, started.event_data ->> 'run_id', started.event_data ->> 'saga_type', started.created_at
    from events started
    where started.aggregate_type = 'saga' and started.event_type = 'SagaStarted'
      and not exists (
        select from events ended
        where ended.aggregate_type = 'saga' and ended.aggregate_id = started.aggregate_id
          and ended.event_type in ('SagaCompleted', 'SagaCompensated')
          and ended.event_data ->> 'run_id' = started.event_data ->> 'run_id')
"""
# Epoch 0: its runs were begun by the release before, and say no epoch with what they send.
_INSERT = """
    insert into sagas (saga_id, run_id, saga_type, state, epoch, last_run, began_at, who)
    values (:saga_id, :run_id, :saga_type, 'forward', 0, :run_id, :began_at, 'migration') on conflict do nothing
"""
_STEPS = "select command_id, step from commands where saga_id = :saga_id and undoes is null"
_BELONGS = "update commands set run_id = :run_id where command_id = any (:ids) or undoes = any (:ids)"


# In the order in which workers take them. What they write meanwhile waits: a saga that began between the look for open ones
# and the end of this would get no record.
_LOCK = "lock table commands in access exclusive mode; lock table events in share row exclusive mode"


def upgrade() -> None:
    for statement in _LOCK.split(";"):
        op.execute(statement)
    for statement in _RECORD.split(";"):
        op.execute(statement)
    connection = op.get_bind()
    for saga_id, run_id, saga_type, began_at in connection.execute(text(_OPEN)).fetchall():
        saga = {"saga_id": saga_id, "run_id": run_id}
        connection.execute(text(_INSERT), saga | {"saga_type": saga_type, "began_at": began_at})
        steps = connection.execute(text(_STEPS), {"saga_id": saga_id}).fetchall()
        # A workflow id may have been used before: the id of a command says which saga it belongs to.
        ids = [command_id for command_id, step in steps if command_id == command_id_of(saga_id, run_id, step)]
        connection.execute(text(_BELONGS), {"run_id": run_id, "ids": ids})
