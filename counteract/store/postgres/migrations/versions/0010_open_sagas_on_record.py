"""Records for the sagas that were begun before 0007, and a new index in its place, beside all appends.

The revision comes once the functions and triggers are at work: those put on record what begins from then on, so nothing
is missed between the look for open sagas and its end. Repeated, it changes nothing.
"""

from __future__ import annotations

from alembic import op

from counteract.messages import COMMAND_IDS

revision = "0010_open_sagas_on_record"
down_revision = "0007_one_record"

AFTER_FUNCTIONS = True

_INDEX = """
drop index concurrently if exists commands_late_since_idx;
create index concurrently commands_late_since_idx on commands (late_since) where late_since is not null
"""
# Epoch 0: the runs of such a saga were begun by the release before, and say no epoch with what they send. Its end
# meanwhile is put on record by heed_ends, like the end of any saga that a worker of that release carries on.
_RECORDS = """
insert into sagas (saga_id, run_id, saga_type, state, epoch, last_run, began_at, who)
select started.aggregate_id, started.event_data ->> 'run_id', started.event_data ->> 'saga_type', 'forward', 0,
       started.event_data ->> 'run_id', started.created_at, 'migration'
from events started
where started.aggregate_type = 'saga' and started.event_type = 'SagaStarted'
  and not exists (
    select from events ended
    where ended.aggregate_type = 'saga' and ended.aggregate_id = started.aggregate_id
      and ended.event_type in ('SagaCompleted', 'SagaCompensated')
      and ended.event_data ->> 'run_id' = started.event_data ->> 'run_id')
on conflict do nothing
"""
# A service of the release before that has not seen the record is through with its command once this lock was free; a
# later one finds the record itself. The lock is given back at once.
_BARRIER = "lock table commands in share row exclusive mode"
# A workflow id may have been used before: the id of a command says which run it belongs to. It is a UUID of version 5,
# of which PostgreSQL knows nothing: SHA-1 as RFC 3174 has it.
_SHA1 = """
create function pg_temp.sha1(p_message bytea) returns bytea language plpgsql immutable as $$
declare
    mask constant bigint := 4294967295;
    h bigint[] := array[1732584193, 4023233417, 2562383102, 271733878, 3285377520];
    padded bytea := p_message || '\\x80'::bytea
        || decode(repeat('00', (119 - length(p_message) % 64) % 64), 'hex') || int8send(length(p_message)::bigint * 8);
    w bigint[];
    a bigint; b bigint; c bigint; d bigint; e bigint; f bigint; k bigint; t bigint; x bigint;
begin
    for block in 0 .. length(padded) / 64 - 1 loop
        for i in 0 .. 15 loop
            x := block * 64 + i * 4;
            w[i] := (get_byte(padded, x::integer)::bigint << 24) | (get_byte(padded, x::integer + 1)::bigint << 16)
                | (get_byte(padded, x::integer + 2)::bigint << 8) | get_byte(padded, x::integer + 3)::bigint;
        end loop;
        for i in 16 .. 79 loop
            x := w[i - 3] # w[i - 8] # w[i - 14] # w[i - 16];
            w[i] := ((x << 1) | (x >> 31)) & mask;
        end loop;
        a := h[1]; b := h[2]; c := h[3]; d := h[4]; e := h[5];
        for i in 0 .. 79 loop
            if i < 20 then f := (b & c) | ((b # mask) & d); k := 1518500249;
            elsif i < 40 then f := b # c # d; k := 1859775393;
            elsif i < 60 then f := (b & c) | (b & d) | (c & d); k := 2400959708;
            else f := b # c # d; k := 3395469782;
            end if;
            t := (((a << 5) | (a >> 27)) & mask) + f + e + k + w[i] & mask;
            e := d; d := c; c := ((b << 30) | (b >> 2)) & mask; b := a; a := t;
        end loop;
        h := array[h[1] + a & mask, h[2] + b & mask, h[3] + c & mask, h[4] + d & mask, h[5] + e & mask];
    end loop;
    return substr(int8send(h[1]), 5) || substr(int8send(h[2]), 5) || substr(int8send(h[3]), 5) || substr(int8send(h[4]), 5)
        || substr(int8send(h[5]), 5);
end $$
"""
_COMMAND_ID = """
create function pg_temp.command_id(p_saga text, p_run text, p_step text) returns uuid language plpgsql immutable as $$
declare
    hash bytea := substr(pg_temp.sha1(
        decode('{namespace}', 'hex') || convert_to(p_saga || E'\\n' || p_run || E'\\n' || p_step, 'UTF8')), 1, 16);
begin
    hash := set_byte(hash, 6, get_byte(hash, 6) & 15 | 80);
    hash := set_byte(hash, 8, get_byte(hash, 8) & 63 | 128);
    return encode(hash, 'hex')::uuid;
end $$
"""
_COMMANDS = """
with own as (
    select c.command_id, s.run_id
    from sagas s join commands c on c.saga_id = s.saga_id and c.undoes is null
    where s.who = 'migration' and pg_temp.command_id(s.saga_id, s.run_id, c.step) = c.command_id
)
update commands c set run_id = own.run_id
from own
where c.run_id is null and (c.command_id = own.command_id or c.undoes = own.command_id)
"""


def upgrade() -> None:
    """Make the index and the records."""
    # A statement each, so that what one has written all others see.
    with op.get_context().autocommit_block():
        for statement in _INDEX.split(";"):
            op.execute(statement)
        op.execute(_RECORDS)
        op.execute(f"do $$ begin {_BARRIER}; end $$")
        op.execute(_SHA1)
        op.execute(_COMMAND_ID.format(namespace=COMMAND_IDS.hex))
        op.execute(_COMMANDS)
        op.execute("drop function pg_temp.command_id, pg_temp.sha1")
