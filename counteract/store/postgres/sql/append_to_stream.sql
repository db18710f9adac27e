-- Appends several events to one stream, as append_event does a single one: what is not settled here goes to append_to_streams.
-- They share their metadata, and so their tags, if there are any. Returns the position of each, in their order.
-- p_has_turn: nothing any more, as there.
create or replace function append_to_stream(
    p_type text, p_id text, p_least integer, p_most integer,
    p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[], p_data jsonb[], p_metadata jsonb,
    p_has_turn boolean default false
) returns table (stream_version integer, positions bigint[])
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    events constant integer := cardinality(p_event_ids);
    -- Where they are not, it is said there what is wrong with them (streams_of_append).
    are_alike constant boolean := array_dims(p_event_ids) = '[1:' || events || ']'
        and array_dims(p_event_types) = array_dims(p_event_ids) and array_dims(p_schema_versions) = array_dims(p_event_ids)
        and array_dims(p_data) = array_dims(p_event_ids);
begin
    if p_type = 'saga' then
        perform refuse_saga_stream();
    end if;
    if are_alike and current_setting('transaction_isolation') = 'read committed' then
        if p_metadata ? '$tags' then
            perform take_turns(array[p_type], array[p_id], array[1], array[p_metadata], null);
        else
            perform pg_advisory_xact_lock(hashtextextended(p_id, hashtextextended(p_type, case current_schema() when 'public' then 0 else hashtextextended(current_schema(), 0) end)));
        end if;
        return query select * from put_in_stream(
            p_type, p_id, p_least, p_most, p_event_ids, p_event_types, p_schema_versions, p_data, p_metadata);
        return;
    end if;
    return query select * from append_to_streams(
        array[p_type], array[p_id], array[p_least], array[p_most], array_fill(1, array[coalesce(events, 0)]),
        p_event_ids, p_event_types, p_schema_versions, p_data, array_fill(p_metadata, array[coalesce(events, 0)]));
end $$;
