-- The first thing that an undo (or the settling of a pivot) does: make sure that the original cannot take effect any more.
-- Returns what is known of the original:
--   'concluded'  this undo was recorded before; p_result holds what it recorded
--   'never'      the original had not begun, or was refused: it never takes effect, and the undo is recorded as done
--   'unknown'    an external effect had begun: it may have happened, or may be about to
--   'applied'    it took effect, with this result
create or replace function fence_command(
    p_original_id uuid, p_undo_id uuid,
    p_saga_id text, p_saga_type text, p_step text, p_original_type text, p_undo_type text, p_task_queue text,
    p_command jsonb, p_result_if_never jsonb
) returns table (known text, result jsonb)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    original record;
    concluded jsonb;
begin
    select c.result into concluded from commands c where c.command_id = p_undo_id and c.status = 'done';
    if found then
        return query select 'concluded', concluded;
        return;
    end if;

    insert into commands (command_id, status, saga_id, saga_type, step, activity_type, task_queue, command, run_id)
    values (
        p_original_id, 'fenced', p_saga_id, p_saga_type, p_step, p_original_type, p_task_queue, p_command,
        last_run_of(p_saga_id))
    on conflict (command_id) do nothing;

    -- A statement of its own, with a snapshot of its own: it sees what the original just committed, and locks it.
    select c.status, c.result, c.started_at into original from commands c where c.command_id = p_original_id for update;
    if original.status = 'done' then
        if p_undo_type like 'Settle%' then
            perform heed_pivot(p_saga_id, true);
        end if;
        return query select 'applied', original.result;
        return;
    end if;
    if original.started_at is not null and original.status <> 'rejected' then
        update commands c set status = 'fenced' where c.command_id = p_original_id and c.status = 'started';
        return query select 'unknown', null::jsonb;
        return;
    end if;

    insert into commands (command_id, status, result, saga_id, saga_type, step, activity_type, task_queue, undoes, command, run_id)
    values (
        p_undo_id, 'done', p_result_if_never, p_saga_id, p_saga_type, p_step, p_undo_type, p_task_queue, p_original_id, p_command,
        last_run_of(p_saga_id))
    on conflict (command_id) do nothing;
    if p_undo_type like 'Settle%' then
        perform heed_pivot(p_saga_id, false);
    end if;
    return query select 'never', p_result_if_never;
end $$;
