-- Appends one event to one stream, which most appends do, in as few statements as its guarantees take: each costs as much
-- as the row. The guarantees, the answer and the errors are those of append_events, to which everything goes that is not
-- settled here: an event that is stored already, a stream at another version, an old snapshot.
create or replace function append_event(
    p_type text, p_id text, p_least integer, p_most integer,
    p_event_id uuid, p_event_type text, p_schema_version smallint, p_data jsonb, p_metadata jsonb
) returns table (stream_version integer, last_position bigint)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    actual integer;
begin
    if p_type = 'saga' then
        perform refuse_saga_stream();
    end if;
    if p_metadata ? '$tags' then
        return query
        select a.stream_version, a.positions[1]
        from append_to_stream(
            p_type, p_id, p_least, p_most, array[p_event_id], array[p_event_type], array[p_schema_version], array[p_data],
            p_metadata) as a;
        return;
    end if;
    if current_setting('transaction_isolation') = 'read committed' then
        perform pg_advisory_xact_lock(hashtextextended(p_id, hashtextextended(p_type, case current_schema() when 'public' then 0 else hashtextextended(current_schema(), 0) end)));
        actual := coalesce((
            select e.version from events e
            where e.aggregate_type = p_type and e.aggregate_id = p_id
            order by e.version desc limit 1), 0);
        if actual between p_least and p_most then
            insert into events as e (
                event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata)
            values (p_event_id, p_type, p_id, actual + 1, p_event_type, p_schema_version, p_data, p_metadata)
            on conflict (event_id) do nothing
            returning e.version, e.position into stream_version, last_position;
            if found then
                return next;
                return;
            end if;
        end if;
    end if;
    return query select * from append_events(
        array[p_type], array[p_id], array[p_least], array[p_most],
        array[1], array[p_event_id], array[p_event_type], array[p_schema_version], array[p_data], array[p_metadata]);
end $$;
