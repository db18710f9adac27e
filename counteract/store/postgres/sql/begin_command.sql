-- Before an external effect: from here on an undo knows that the effect may happen.
-- Returns the row that stands, which is an earlier attempt's or an undo's where there was one already.
create or replace function begin_command(
    p_command_id uuid,
    p_saga_id text, p_saga_type text, p_step text, p_activity_type text, p_task_queue text, p_command jsonb
) returns table (status text, result jsonb, activity_type text)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
begin
    perform bar_where_turned(p_command_id, p_saga_id, p_saga_type, p_step, p_activity_type, p_task_queue);
    insert into commands as c (command_id, status, saga_id, saga_type, step, activity_type, task_queue, command, started_at, run_id)
    values (
        p_command_id, 'started', p_saga_id, p_saga_type, p_step, p_activity_type, p_task_queue, p_command, clock_timestamp(),
        last_run_of(p_saga_id))
    on conflict (command_id) do nothing;
    -- A statement of its own, with a snapshot of its own: it sees what another transaction just committed.
    return query select c.status, c.result, c.activity_type from commands c where c.command_id = p_command_id;
end $$;
