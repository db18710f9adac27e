-- As append_to_streams, for whoever asks for the last position only: it is null for a stream without events.
create or replace function append_events(
    p_types text[], p_ids text[], p_least integer[], p_most integer[],
    p_event_stream integer[], p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[],
    p_data jsonb[], p_metadata jsonb[]
) returns table (stream_version integer, last_position bigint)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
begin
    return query
    select a.stream_version, a.positions[cardinality(a.positions)]
    from append_to_streams(
        p_types, p_ids, p_least, p_most, p_event_stream, p_event_ids, p_event_types, p_schema_versions, p_data, p_metadata
    ) as a;
end $$;
