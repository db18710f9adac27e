-- What a query by tags finds after a position, in order, and a position up to which that is settled: what it would find and was under
-- way has been waited for, and nothing else; what comes later is beyond. Without any there is a row all the same, which says so.
-- Of an event that is archived there is only its position.
create or replace function find_events(p_query jsonb, p_after bigint, p_limit integer) returns table (
    settled bigint, at_position bigint, event_id bytea, aggregate_type text, aggregate_id text, version integer, event_type text,
    schema_version smallint, event_data text, metadata text, created_at timestamptz)
language plpgsql set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    mark bigint;
begin
    perform take_turns('{}', '{}', '{}', '{}', p_query);
    mark := (select case when s.is_called then s.last_value else 0 end from events_position_seq s);
    return query
    select mark, found.position, uuid_send(e.event_id), e.aggregate_type, e.aggregate_id, e.version, e.event_type, e.schema_version,
           e.event_data::text, e.metadata::text, e.created_at
    from (
        select distinct met.position
        from jsonb_array_elements(p_query) as item
        cross join lateral (
            select t.position from event_tags t
            where t.tag = item -> 'tags' ->> 0 and t.position > p_after
              and (coalesce(item -> 'types', '[]') = '[]' or item -> 'types' ? t.event_type)
              and not exists (
                select from jsonb_array_elements_text(item -> 'tags') as other
                where not exists (select from event_tags o where o.tag = other and o.position = t.position))
            order by t.position limit p_limit) as met
        order by met.position limit p_limit
    ) as found
    left join events e on e.position = found.position
    order by found.position;
    if not found then
        return query select mark, null::bigint, null::bytea, null::text, null::text, null::integer, null::text, null::smallint,
                            null::text, null::text, null::timestamptz;
    end if;
end $$;
