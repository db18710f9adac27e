-- The second of a command's two round trips: its answer and its events, at once or not at all.
-- The first answer recorded for an id is the answer: a later one is not stored, and the first is returned instead.
-- Its events share their metadata, or each has $tags of its own.
-- A fenced id takes no answer, but for a pivot that its settling (p_undoes) found to have happened (p_settled).
create or replace function record_command(
    p_command_id uuid, p_status text, p_result jsonb,
    p_saga_id text, p_saga_type text, p_step text, p_activity_type text, p_task_queue text, p_undoes uuid,
    p_command jsonb, p_settled jsonb,
    p_types text[], p_ids text[], p_least integer[], p_most integer[],
    p_event_stream integer[], p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[],
    p_data jsonb[], p_metadata jsonb[]
) returns table (recorded boolean, status text, result jsonb, activity_type text)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
begin
    if p_undoes is null then
        perform bar_where_turned(p_command_id, p_saga_id, p_saga_type, p_step, p_activity_type, p_task_queue);
    end if;
    insert into commands as c (command_id, status, result, saga_id, saga_type, step, activity_type, task_queue, undoes, command, run_id)
    values (
        p_command_id, p_status, p_result, p_saga_id, p_saga_type, p_step, p_activity_type, p_task_queue, p_undoes, p_command,
        last_run_of(p_saga_id))
    on conflict (command_id) do update
        set status = excluded.status, result = excluded.result, recorded_at = clock_timestamp()
        where c.status = 'started' and c.activity_type = excluded.activity_type;
    if not found then
        -- A statement of its own, with a snapshot of its own: it sees what the other transaction just committed.
        return query select false, c.status, c.result, c.activity_type from commands c where c.command_id = p_command_id;
        return;
    end if;
    if p_settled is not null then
        update commands c set status = 'done', result = p_settled where c.command_id = p_undoes and c.status = 'fenced';
    end if;
    if p_activity_type like 'Settle%' and p_undoes is not null then
        perform heed_pivot(p_saga_id, p_settled is not null);
    elsif exists (select from commands c where c.command_id = p_command_id and c.kind = 'pivot') then
        perform heed_pivot(p_saga_id, p_status = 'done');
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
    return query select true, p_status, p_result, p_activity_type;
end $$;
