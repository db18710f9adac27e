-- The first thing that an undo (or a settlement) does: make sure that the original cannot take effect any more.
-- Returns what is known of the original, and the command that it was recorded with:
--   'concluded'  this undo was recorded before; result holds what it recorded
--   'never'      the original had not begun, or was refused: it never takes effect, and the undo is recorded as done
--   'unknown'    an external effect had begun: it may have happened, or may be about to
--   'applied'    it took effect, with this result; its row is marked, and is no answer any more
-- `began` is by the database's clock: an effect that came late by then is undone with this one.
-- `lost` says that the saga knows of an effect, or of an order for one, that the store has no row of.
create or replace function fence_step(p_step jsonb, p_command jsonb, p_result_if_never jsonb)
returns table (known text, result jsonb, command jsonb, activity_type text, lost boolean, began timestamptz)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    own_id constant uuid := (p_step ->> 'command_id')::uuid;
    original_id constant uuid := (p_step ->> 'undoes')::uuid;
    role constant text := p_step ->> 'role';
    is_external constant boolean := coalesce((p_step ->> 'external')::boolean, false);
    answered constant boolean := coalesce((p_step ->> 'answered')::boolean, false);
    -- No row is no proof that nothing happened outside: a failover may have lost it.
    in_doubt constant boolean := is_external and (coalesce((p_step ->> 'sent')::boolean, false) or answered);
    original record;
    concluded jsonb;
    is_new boolean;
begin
    select c.result into concluded from commands c where c.command_id = own_id and c.status = 'done';
    if found then
        return query select 'concluded', concluded, p_command, p_step ->> 'original_type', false, clock_timestamp();
        return;
    end if;
    perform enter_step(p_step);

    insert into commands (
        command_id, status, saga_id, saga_type, step, activity_type, task_queue, command, run_id, kind, epoch, started_at, lost)
    values (
        original_id, 'fenced', p_step ->> 'saga_id', p_step ->> 'saga_type', p_step ->> 'step', p_step ->> 'original_type',
        p_step ->> 'task_queue', p_command, p_step ->> 'run_id', p_step ->> 'kind', (p_step ->> 'epoch')::integer,
        case when in_doubt then clock_timestamp() end, in_doubt or answered)
    on conflict (command_id) do nothing;
    is_new := found;

    -- A statement of its own, with a snapshot of its own: it sees what the original just committed, and locks it.
    select c.status, c.result, c.started_at, c.command, c.activity_type, c.late_since, c.lost, c.saga_id into original
    from commands c where c.command_id = original_id for update;
    if original.saga_id <> p_step ->> 'saga_id' then
        raise exception 'the command to undo belongs to the saga %, not to %', original.saga_id, p_step ->> 'saga_id'
            using errcode = 'CA022';
    end if;
    if original.status = 'done' then
        if role in ('undo', 'turn') then
            update commands c set undone_since = clock_timestamp() where c.command_id = original_id and c.undone_since is null;
        end if;
        if role = 'settle' then
            update sagas s set state = 'past the pivot', since = clock_timestamp(), who = p_step ->> 'who'
            where s.saga_id = p_step ->> 'saga_id' and s.run_id = p_step ->> 'run_id' and p_step ->> 'kind' = 'pivot'
              and s.state in ('forward', 'at the pivot');
        end if;
        return query select 'applied', original.result, original.command, original.activity_type, false, clock_timestamp();
        return;
    end if;
    -- A late effect whose attempt gave an answer. Without one it falls under what follows: unknown. So does a pivot, whose provider
    -- can say by now what became of it: what follows from that is recorded with its settlement.
    if original.late_since is not null and original.result is not null and not (role = 'settle' and p_step ->> 'kind' = 'pivot') then
        if role = 'settle' then
            update commands c set status = 'done', late_since = null where c.command_id = original_id;
        end if;
        return query select 'applied', original.result, original.command, original.activity_type, false, clock_timestamp();
        return;
    end if;
    if original.started_at is not null and original.status <> 'rejected' then
        update commands c set status = 'fenced' where c.command_id = original_id and c.status = 'started';
        return query select 'unknown', null::jsonb, original.command, original.activity_type, is_new and original.lost, clock_timestamp();
        return;
    end if;

    insert into commands (
        command_id, status, result, saga_id, saga_type, step, activity_type, task_queue, undoes, command, run_id, epoch)
    values (
        own_id, 'done', p_result_if_never, p_step ->> 'saga_id', p_step ->> 'saga_type', p_step ->> 'step',
        p_step ->> 'activity_type', p_step ->> 'task_queue', original_id, p_command, p_step ->> 'run_id',
        (p_step ->> 'epoch')::integer)
    on conflict (command_id) do nothing;
    if role = 'settle' and p_step ->> 'kind' = 'pivot' then
        update sagas s set state = 'forward', since = clock_timestamp(), who = p_step ->> 'who'
        where s.saga_id = p_step ->> 'saga_id' and s.run_id = p_step ->> 'run_id' and s.state = 'at the pivot'
          and not another_pivot_may_stand(p_step ->> 'saga_id', p_step ->> 'run_id', original_id);
    end if;
    return query select 'never', p_result_if_never, original.command, original.activity_type, is_new and original.lost, clock_timestamp();
end $$;
