-- What append_to_streams does once its caller has looked at the arguments (streams_of_append) and has the turn of all their streams and
-- tags (take_turns). Who has not must not call it: nobody but the functions here may.
create or replace function put_in_streams(
    p_types text[], p_ids text[], p_least integer[], p_most integer[],
    p_event_stream integer[], p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[],
    p_data jsonb[], p_metadata jsonb[], p_tagged boolean
) returns table (stream_version integer, positions bigint[])
language plpgsql as $$
#variable_conflict use_column
declare
    streams constant integer := cardinality(p_types);
    actual integer[];
    stored bigint[];
    stream integer;
    drawn bigint[];
begin
    -- Each statement has a snapshot of its own and sees what the locks' last holders committed.
    -- The look-ups are scalar subqueries so that their cached plans stay on the index however small the table was once.
    stored := array(
        select (select e.position from events e where e.event_id = given.id)
        from unnest(p_event_ids) with ordinality as given (id, number)
        order by number
    );
    if array_remove(stored, null) <> '{}' then
        return query
        select r.stream_version, array(
            select stored[g.number] from unnest(p_event_stream) with ordinality as g (stream, number)
            where g.stream = r.number order by g.number)
        from repeated_append(p_types, p_ids, p_event_stream, p_event_ids, p_event_types, p_schema_versions, p_data)
             with ordinality as r (stream_version, last_position, number)
        order by r.number;
        return;
    end if;

    actual := array(
        select coalesce((
            select e.version from events e
            where e.aggregate_type = s.type and e.aggregate_id = s.id
            order by e.version desc limit 1), 0)
        from unnest(p_types, p_ids) with ordinality as s (type, id, number)
        order by number
    );
    for stream in 1 .. streams loop
        if actual[stream] not between p_least[stream] and p_most[stream] then
            raise exception '%/% is at version %', p_types[stream], p_ids[stream], actual[stream]
                using errcode = 'CA001',
                      detail = jsonb_build_object(
                          'aggregate_type', p_types[stream], 'aggregate_id', p_ids[stream],
                          'least', p_least[stream], 'most', p_most[stream], 'actual', actual[stream]);
        end if;
    end loop;

    -- INSERT has its lock on the table before it draws the first position, which is what the high water mark relies on. Positions
    -- are drawn in the order of the events.
    with inserted as (
        insert into events as e (
            event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata)
        select g.event_id, p_types[g.stream], p_ids[g.stream],
               actual[g.stream] + (row_number() over (partition by g.stream order by g.number))::integer,
               g.event_type, g.schema_version, g.data, g.metadata
        from unnest(p_event_stream, p_event_ids, p_event_types, p_schema_versions, p_data, p_metadata)
             with ordinality as g (stream, event_id, event_type, schema_version, data, metadata, number)
        order by g.number
        returning e.position
    )
    select array_agg(i.position) into drawn from inserted i;
    if streams = 1 then
        return query select actual[1] + coalesce(cardinality(drawn), 0), coalesce(drawn, '{}');
    else
        return query
        select actual[s.number] + count(g.number)::integer,
               case when count(g.number) > 0 then array_agg(drawn[g.number] order by g.number) else '{}' end
        from generate_subscripts(p_types, 1) as s (number)
        left join unnest(p_event_stream) with ordinality as g (stream, number) on g.stream = s.number
        group by s.number
        order by s.number;
    end if;
    if p_tagged then
        -- It stays when an event is archived: a name that is taken stays so. Not by a trigger, which would ask each row of who has none.
        insert into event_tags (tag, position, event_type)
        select distinct tag, drawn[g.number], p_event_types[g.number]
        from unnest(p_metadata) with ordinality as g (about, number), jsonb_array_elements_text(g.about -> '$tags') as tag;
    end if;
end $$;
