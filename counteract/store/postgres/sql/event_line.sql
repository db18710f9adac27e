-- An event as a line of JSON, as exports and archives have it: with every digit that is stored, and the same text in
-- whatever session, since archives are compared by it.
create or replace function event_line(p_event events) returns text
language sql stable as $$
    select json_build_object(
        'position', p_event.position, 'event_id', p_event.event_id,
        'aggregate_type', p_event.aggregate_type, 'aggregate_id', p_event.aggregate_id, 'version', p_event.version,
        'event_type', p_event.event_type, 'schema_version', p_event.schema_version,
        'event_data', p_event.event_data, 'metadata', p_event.metadata,
        'created_at', to_char(p_event.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text
$$;
