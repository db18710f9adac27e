-- The second of a command's two round trips: its answer and its events, at once or not at all, and what they mean to the
-- saga's record. The first answer recorded for an id is the answer: a later one is not stored, and the first is returned.
-- Its events share their metadata, or each has $tags of its own. A fenced id takes no answer; that of an external effect leaves a mark there, for
-- somebody has to undo it. p_settled is what a pivot was found to have answered.
create or replace function record_step(
    p_step jsonb, p_status text, p_result jsonb, p_command jsonb, p_settled jsonb,
    p_types text[], p_ids text[], p_least integer[], p_most integer[],
    p_event_stream integer[], p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[],
    p_data jsonb[], p_metadata jsonb[]
) returns table (recorded boolean, status text, result jsonb, activity_type text, saga_id text, command jsonb, undone boolean)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    id constant uuid := (p_step ->> 'command_id')::uuid;
    saga constant text := p_step ->> 'saga_id';
    run constant text := p_step ->> 'run_id';
    role constant text := p_step ->> 'role';
    is_pivot constant boolean := p_step ->> 'kind' = 'pivot' and role in ('forward', 'settle');
    external constant boolean := (p_step ->> 'external')::boolean;
    entered boolean := false;
    stands boolean := false;
    decided text;
begin
    if role = 'forward' and not (p_status = 'rejected' and external) then
        -- As a rule the record is where the saga believes it to be: enter_step would lock it and say no more, but for an answer
        -- that stands, which is met below.
        perform from sagas s
        where s.saga_id = saga and s.run_id = run and s.epoch = (p_step ->> 'epoch')::integer
          and s.state = case p_step ->> 'kind' when 'compensatable' then 'forward' when 'retriable' then 'past the pivot' end
        for share;
        entered := found;
    end if;
    -- An undo was held against the record when it fenced its original.
    if entered then
        null;
    elsif role = 'forward' or p_step ->> 'undoes' is null then
        stands := not enter_step(p_step);
    elsif is_pivot then
        perform enter_step(p_step);
    end if;
    if p_status = 'rejected' and external and not stands and (
        (p_step ->> 'attempt')::integer > 1
        or (p_step ->> 'server_since')::timestamptz is distinct from pg_postmaster_start_time()
        or not exists (select from commands c where c.command_id = id and c.begun = 1)
    ) then
        -- An earlier attempt may have happened, or the store forgot how many there were: that this one was refused says
        -- nothing of them.
        return query select false, 'doubtful', p_result, p_step ->> 'activity_type', saga, p_command, false;
        return;
    end if;
    if not stands then
        insert into commands as c (
            command_id, status, result, saga_id, saga_type, step, activity_type, task_queue, undoes, command,
            run_id, kind, epoch)
        values (
            id, p_status, p_result, saga, p_step ->> 'saga_type', p_step ->> 'step', p_step ->> 'activity_type',
            p_step ->> 'task_queue', (p_step ->> 'undoes')::uuid, p_command,
            run, case role when 'forward' then p_step ->> 'kind' end, (p_step ->> 'epoch')::integer)
        on conflict (command_id) do update
            set status = excluded.status, result = excluded.result, recorded_at = clock_timestamp()
            where c.status = 'started' and c.activity_type = excluded.activity_type;
        stands := not found;
    end if;
    if stands then
        if external and role = 'forward' and p_status = 'done' then
            update commands c set late_since = clock_timestamp(), result = p_result
            where c.command_id = id and c.status = 'fenced' and c.started_at is not null;
        end if;
        -- A statement of its own, with a snapshot of its own: it sees what the other transaction just committed.
        return query
            select false, c.status, c.result, c.activity_type, c.saga_id, c.command, c.undone_since is not null
            from commands c where c.command_id = id;
        return;
    end if;

    if p_settled is not null then
        update commands c set status = 'done', result = p_settled, late_since = null
        where c.command_id = (p_step ->> 'undoes')::uuid and c.status = 'fenced';
    end if;
    if role = 'undo' or role = 'turn' then
        -- What came later than this undo began, it may have missed.
        update commands c set late_since = null
        where c.command_id = (p_step ->> 'undoes')::uuid and c.late_since <= (p_step ->> 'began')::timestamptz;
    end if;
    if is_pivot then
        decided := case
            when role = 'settle' then case when p_settled is null then 'forward' else 'past the pivot' end
            when p_status = 'done' then 'past the pivot' else 'forward' end;
        -- At another one that may stand it stays: of that somebody has to find out first.
        update sagas s set state = decided, since = clock_timestamp(), who = p_step ->> 'who'
        where s.saga_id = saga and s.run_id = run and s.state in ('forward', 'at the pivot') and s.state <> decided
          and not (decided = 'forward' and another_pivot_may_stand(saga, run, coalesce((p_step ->> 'undoes')::uuid, id)));
    end if;
    if cardinality(p_types) = 1 and cardinality(p_event_ids) = 1 then
        perform append_event(p_types[1], p_ids[1], p_least[1], p_most[1], p_event_ids[1], p_event_types[1],
                             p_schema_versions[1], p_data[1], p_metadata[1]);
    elsif cardinality(p_types) = 1 and cardinality(p_event_ids) > 1 and not p_metadata[1] ? '$tags' then
        perform append_to_stream(p_types[1], p_ids[1], p_least[1], p_most[1], p_event_ids, p_event_types,
                                 p_schema_versions, p_data, p_metadata[1]);
    elsif p_types is distinct from '{}' or p_event_ids is distinct from '{}' then
        perform append_to_streams(p_types, p_ids, p_least, p_most, p_event_stream, p_event_ids, p_event_types,
                                  p_schema_versions, p_data, p_metadata);
    end if;
    -- Without the command, which is what was given: there is nothing to be compared.
    return query select true, p_status, p_result, p_step ->> 'activity_type', saga, null::jsonb, false;
end $$;
