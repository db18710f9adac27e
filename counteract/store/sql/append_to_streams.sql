-- Appends to many streams, all or nothing.
--
--   p_types, p_ids, p_least, p_most   the streams, and the versions that each may be at: from least to most
--   p_event_stream, …                 the events in order; p_event_stream is the 1-based index of an event's stream
--
-- A stream without events is only checked. Returns a row for each stream, in order: its version after the call, and
-- the positions of the events that the call appended to it, in their order (none for a stream that was only checked).
--
-- Events may have tags, as an array under $tags of their metadata, which all of them have then, be it empty: queries find them by these.
--
-- Event ids that are stored already, all of them and with the same content, make the call a repeat: it appends nothing,
-- checks no version, and returns what the first call returned.
--
--   CA001  a stream is at another version    detail: {"aggregate_type", "aggregate_id", "least", "most", "actual"}
--   CA002  an event id is stored with other content, or only some of the ids are    detail: {"event_id"}
--   CA003  more streams than one call may take
--   CA004  called where its checks would look at an old snapshot
create or replace function append_to_streams(
    p_types text[], p_ids text[], p_least integer[], p_most integer[],
    p_event_stream integer[], p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[],
    p_data jsonb[], p_metadata jsonb[]
) returns table (stream_version integer, positions bigint[])
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    max_streams constant integer := 256;
    streams constant integer := cardinality(p_types);
    tagged constant boolean := coalesce(p_metadata[1] ? '$tags', false);
    actual integer[];
    stored bigint[];
    stream integer;
    drawn bigint[];
begin
    if 'saga' = any (p_types) then
        perform refuse_saga_stream();
    end if;
    -- Each stream takes an entry of the lock table, which all sessions share.
    if streams > max_streams then
        raise exception 'an append takes at most % streams, this one has %', max_streams, streams
            using errcode = 'CA003';
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'an append needs READ COMMITTED, not %', upper(current_setting('transaction_isolation'))
            using errcode = 'CA004';
    end if;

    -- Writers take turns per stream before anything is checked, and those that only read share theirs. In the order of
    -- the keys, so that two calls never wait for each other; each key once and in the stronger mode, because two
    -- streams may share a key, and going from shared to exclusive can deadlock.
    if tagged then
        perform take_turns(p_types, p_ids, p_event_stream, p_metadata, null);
    else
        perform case when exclusive then pg_advisory_xact_lock(key) else pg_advisory_xact_lock_shared(key) end
        from (
            select hashtextextended(s.id, hashtextextended(s.type, case current_schema() when 'public' then 0 else hashtextextended(current_schema(), 0) end)) as key,
                   bool_or(s.number = any (p_event_stream)) as exclusive
            from unnest(p_types, p_ids) with ordinality as s (type, id, number)
            group by 1
            order by 1
        ) as locks;
    end if;

    -- From here on each statement has a snapshot of its own and sees what the locks' last holders committed.
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
    return query
    select actual[s.number] + count(g.number)::integer,
           case when count(g.number) > 0 then array_agg(drawn[g.number] order by g.number) else '{}' end
    from generate_subscripts(p_types, 1) as s (number)
    left join unnest(p_event_stream) with ordinality as g (stream, number) on g.stream = s.number
    group by s.number
    order by s.number;
    if tagged then
        perform index_tags(p_event_ids);
    end if;
end $$;
