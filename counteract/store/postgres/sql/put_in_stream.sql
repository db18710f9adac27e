-- What append_to_stream does once its caller has the turn of the stream and of the tags. Nobody may call it but the functions here.
create or replace function put_in_stream(
    p_type text, p_id text, p_least integer, p_most integer,
    p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[], p_data jsonb[], p_metadata jsonb
) returns table (stream_version integer, positions bigint[])
language plpgsql as $$
#variable_conflict use_column
declare
    events constant integer := cardinality(p_event_ids);
    actual integer;
    appended bigint[];
    other uuid;
begin
    actual := coalesce((
        select e.version from events e
        where e.aggregate_type = p_type and e.aggregate_id = p_id
        order by e.version desc limit 1), 0);
    if actual between p_least and p_most then
        -- Positions are drawn in the order of the events.
        with inserted as (
            insert into events as e (
                event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata)
            select g.event_id, p_type, p_id, actual + g.number::integer, g.event_type, g.schema_version, g.data, p_metadata
            from unnest(p_event_ids, p_event_types, p_schema_versions, p_data)
                 with ordinality as g (event_id, event_type, schema_version, data, number)
            order by g.number
            on conflict (event_id) do nothing
            returning e.position
        )
        select array_agg(i.position) into appended from inserted i;
        if cardinality(appended) = events then
            if p_metadata ? '$tags' then
                insert into event_tags (tag, position, event_type)
                select distinct tag, g.position, g.event_type
                from unnest(appended, p_event_types) as g (position, event_type),
                     jsonb_array_elements_text(p_metadata -> '$tags') as tag;
            end if;
            return query select actual + events, appended;
            return;
        elsif cardinality(appended) > 0 then
            other := (
                select e.event_id from events e
                where e.aggregate_type = p_type and e.aggregate_id = p_id and e.version > actual limit 1);
            raise exception 'event ids are stored already, but not % with this content', other
                using errcode = 'CA002', detail = jsonb_build_object('event_id', other);
        end if;
    end if;
    return query select * from append_to_streams(
        array[p_type], array[p_id], array[p_least], array[p_most], array_fill(1, array[events]),
        p_event_ids, p_event_types, p_schema_versions, p_data, array_fill(p_metadata, array[events]));
end $$;
