-- A person gave up a step, or its undo (p_skip->>'what'): on record, that binds further runs and recoveries. Like an undo's,
-- the row says of a step that it is concluded; its result says who gave it up and why, and what the saga goes on with.
--
-- What had not come to its service by then never happens. An undo that is given up has barred its original, as it would
-- have by itself; a step that is given up may be under way, and what becomes of that is the person's concern.
create or replace function skip_step(p_skip jsonb, p_said jsonb) returns void
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    original_id constant uuid := (p_skip ->> 'command_id')::uuid;
    saga constant text := p_skip ->> 'saga_id';
    run constant text := p_skip ->> 'run_id';
    -- A child saga has no row here but that of its undo, a command of its own: what bars it is a record.
    is_child constant boolean := (p_skip ->> 'is_child')::boolean;
begin
    perform from sagas s where s.saga_id = saga and s.run_id = run for share;
    if not is_child then
        insert into commands (
            command_id, status, saga_id, saga_type, step, activity_type, task_queue, run_id, kind, epoch)
        values (
            original_id, 'fenced', saga, p_skip ->> 'saga_type', p_skip ->> 'key', p_skip ->> 'command_type',
            p_skip ->> 'service', run, p_skip ->> 'kind', (p_skip ->> 'epoch')::integer)
        on conflict (command_id) do nothing;
    end if;
    if p_skip #>> '{child,saga_id}' is not null then
        insert into sagas (
            saga_id, run_id, namespace, saga_type, state, epoch, last_run, who, why,
            parent_command, parent_saga_id, parent_run_id, parent_step, child)
        values (
            p_skip #>> '{child,saga_id}', original_id::text,
            (select s.namespace from sagas s where s.saga_id = saga and s.run_id = run),
            p_skip #>> '{child,saga_type}', 'never', 0, '', p_said ->> 'who', p_said ->> 'why',
            original_id, saga, run, p_skip ->> 'key', p_skip -> 'child')
        on conflict do nothing;
    end if;
    if not is_child and p_skip ->> 'what' = 'undo' then
        update commands c
        set status = case c.status when 'started' then 'fenced' else c.status end,
            undone_since = case c.status when 'done' then coalesce(c.undone_since, clock_timestamp()) end
        where c.command_id = original_id and c.status in ('started', 'done');
    end if;
    -- An undo that came through in the very moment of the decision stays what it is.
    insert into commands as c (
        command_id, status, result, saga_id, saga_type, step, activity_type, task_queue, undoes, run_id, epoch)
    values (
        (p_skip ->> 'skip_id')::uuid, 'done', p_said, saga, p_skip ->> 'saga_type', p_skip ->> 'key',
        p_skip ->> 'activity', p_skip ->> 'service', case when not is_child then original_id end, run,
        (p_skip ->> 'epoch')::integer)
    on conflict (command_id) do update set status = 'done', result = p_said, recorded_at = clock_timestamp()
        where c.status = 'started';
end $$;
