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
-- p_has_turn: nothing any more. Calls of append_on_terms that are under way while a release takes this one's place still say it.
--
-- Event ids that are stored already, all of them and with the same content, make the call a repeat: it appends nothing,
-- checks no version, and returns what the first call returned.
--
--   CA001  a stream is at another version    detail: {"aggregate_type", "aggregate_id", "least", "most", "actual"}
--   CA002  an event id is stored with other content, or only some of the ids are    detail: {"event_id"}
--   CA003  more streams than one call may take
--   CA004  called where its checks would look at an old snapshot
--   CA006  the arguments mean no append    (streams_of_append)
create or replace function append_to_streams(
    p_types text[], p_ids text[], p_least integer[], p_most integer[],
    p_event_stream integer[], p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[],
    p_data jsonb[], p_metadata jsonb[], p_has_turn boolean default false
) returns table (stream_version integer, positions bigint[])
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    streams constant integer := streams_of_append(
        p_types, p_ids, p_least, p_most, p_event_stream, p_event_ids, p_event_types, p_schema_versions, p_data, p_metadata);
    -- Of whichever event: a tag that is not locked, and not stored beside its event, is one that no query finds. Sought in the text of all
    -- of them, which takes less time than a query; where it is something else, nothing comes of it.
    tagged constant boolean := strpos(p_metadata::text, '$tags') > 0;
begin
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
    return query select * from put_in_streams(
        p_types, p_ids, p_least, p_most, p_event_stream, p_event_ids, p_event_types, p_schema_versions, p_data, p_metadata, tagged);
end $$;
