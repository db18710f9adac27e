-- Appends as append_to_streams does, on further terms:
--
--   p_terms   {"query": [{"types": […], "tags": […]}, …], "after": …}   nothing that the query finds was appended after that position:
--                 of an item, each tag, and one of the types where there are any; of the items, one
--             {"checkpoint": {"name": …, "position": …, "after": …}}    that one moves on, from where it is expected to be, if that is said
--
-- A repeat changes nothing, and returns what the first call returned, as there.
--
--   CA014  such an event was appended    detail: {"position"}
--   CA015  the checkpoint is not before the new position, or not where it was expected    detail: {"name", "position"}
create or replace function append_on_terms(
    p_terms jsonb,
    p_types text[], p_ids text[], p_least integer[], p_most integer[],
    p_event_stream integer[], p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[],
    p_data jsonb[], p_metadata jsonb[]
) returns table (stream_version integer, positions bigint[])
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    query constant jsonb := p_terms -> 'query';
    since constant bigint := (p_terms ->> 'after')::bigint;
    checkpoint constant jsonb := p_terms -> 'checkpoint';
    -- What its items without tags find is locked by nobody.
    untagged constant jsonb := (
        select jsonb_agg(item) from jsonb_array_elements(query) as item where item -> 'tags' ->> 0 is null);
    is_new boolean;
    kept bigint;
    met bigint;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'an append needs READ COMMITTED, not %', upper(current_setting('transaction_isolation'))
            using errcode = 'CA004';
    end if;
    if checkpoint is not null then
        kept := keep_checkpoint(
            checkpoint ->> 'name', (checkpoint ->> 'position')::bigint, (checkpoint ->> 'after')::bigint);
    end if;
    perform take_turns(p_types, p_ids, p_event_stream, p_metadata, query);
    is_new := not exists (
        select from unnest(p_event_ids) as given (id)
        where (select e.position from events e where e.event_id = given.id) is not null);
    if is_new then
        if kept is not null then
            raise exception 'the checkpoint % is at %', checkpoint ->> 'name', kept
                using errcode = 'CA015', detail = jsonb_build_object('name', checkpoint ->> 'name', 'position', kept);
        end if;
        met := found_since(query, since, 9223372036854775807, '{}');
    end if;
    if met is null then
        return query select * from append_to_streams(
            p_types, p_ids, p_least, p_most, p_event_stream, p_event_ids, p_event_types, p_schema_versions, p_data, p_metadata);
        -- Whoever appends such events is not kept out, so it is looked again once all have ended that could have come before.
        if is_new and untagged is not null and cardinality(p_event_ids) > 0 then
            perform outlive_appends();
            met := found_since(untagged, since, currval('events_position_seq'), p_event_ids);
        end if;
    end if;
    if met is not null then
        raise exception 'an event that the decision depends on was appended at %', met
            using errcode = 'CA014', detail = jsonb_build_object('position', met);
    end if;
end $$;
