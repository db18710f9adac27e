-- Before an external effect: from here on an undo knows that the effect may happen, and a pivot's saga is at its pivot.
-- Returns the row that stands, which is an earlier attempt's or an undo's where there was one already, and since when the
-- server runs: another one, later, may have forgotten attempts.
create or replace function begin_step(p_step jsonb, p_command jsonb)
returns table (
    status text, result jsonb, activity_type text, saga_id text, command jsonb, undone boolean, server_since timestamptz)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
begin
    if enter_step(p_step) then
        insert into commands as c (
            command_id, status, saga_id, saga_type, step, activity_type, task_queue, command, started_at,
            run_id, kind, epoch, begun)
        values (
            (p_step ->> 'command_id')::uuid, 'started', p_step ->> 'saga_id', p_step ->> 'saga_type', p_step ->> 'step',
            p_step ->> 'activity_type', p_step ->> 'task_queue', p_command, clock_timestamp(),
            p_step ->> 'run_id', case p_step ->> 'role' when 'forward' then p_step ->> 'kind' end,
            (p_step ->> 'epoch')::integer, 1)
        on conflict (command_id) do update set begun = coalesce(c.begun, 1) + 1
            where c.status = 'started' and c.activity_type = excluded.activity_type;
        if p_step ->> 'kind' = 'pivot' then
            update sagas s set state = 'at the pivot', since = clock_timestamp(), who = p_step ->> 'who'
            where s.saga_id = p_step ->> 'saga_id' and s.run_id = p_step ->> 'run_id' and s.state = 'forward';
        end if;
    end if;
    -- A statement of its own, with a snapshot of its own: it sees what another transaction just committed.
    return query
        select c.status, c.result, c.activity_type, c.saga_id, c.command, c.undone_since is not null,
               pg_postmaster_start_time()
        from commands c where c.command_id = (p_step ->> 'command_id')::uuid;
end $$;
