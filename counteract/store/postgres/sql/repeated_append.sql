-- The answer of append_events to event ids that it finds stored. The caller holds the locks of the streams.
-- Metadata is not compared: a retry may well say something else about who asked.
create or replace function repeated_append(
    p_types text[], p_ids text[],
    p_event_stream integer[], p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[], p_data jsonb[]
) returns table (stream_version integer, last_position bigint)
language plpgsql as $$
#variable_conflict use_column
declare
    other uuid;
begin
    select g.event_id into other
    from unnest(p_event_stream, p_event_ids, p_event_types, p_schema_versions, p_data)
         as g (stream, event_id, event_type, schema_version, data)
    where not exists (
        select from events e
        where e.event_id = g.event_id
          and e.aggregate_type = p_types[g.stream] and e.aggregate_id = p_ids[g.stream]
          and e.event_type = g.event_type and e.schema_version = g.schema_version and e.event_data = g.data)
    limit 1;
    if found then
        raise exception 'event ids are stored already, but not % with this content', other
            using errcode = 'CA002', detail = jsonb_build_object('event_id', other);
    end if;

    return query
    select coalesce(max(e.version), (
               select c.version from events c
               where c.aggregate_type = s.type and c.aggregate_id = s.id
               order by c.version desc limit 1), 0),
           max(e.position)
    from unnest(p_types, p_ids) with ordinality as s (type, id, number)
    left join (events e join unnest(p_event_ids) as g (event_id) on e.event_id = g.event_id)
        on e.aggregate_type = s.type and e.aggregate_id = s.id
    group by s.number, s.type, s.id
    order by s.number;
end $$;
