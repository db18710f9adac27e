-- Appends as append_to_streams does, on further terms:
--
--   p_terms   {"query": [{"types": […], "tags": […]}, …], "after": …}   nothing that the query finds was appended after that position:
--                 of an item, each tag, and one of the types where there are any; of the items, one
--             {"checkpoint": {"name": …, "position": …, "after": …}}    that one moves on, from where it is expected to be, if that is said
--
-- What an item of a query does not say is any: it finds more than somebody meant who left it out, and not less. So does a query from the beginning.
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
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    streams constant integer := streams_of_append(
        p_types, p_ids, p_least, p_most, p_event_stream, p_event_ids, p_event_types, p_schema_versions, p_data, p_metadata);
    query constant jsonb := p_terms -> 'query';
    since constant bigint := coalesce((p_terms ->> 'after')::bigint, 0);
    checkpoint constant jsonb := p_terms -> 'checkpoint';
    -- What its items without tags find is locked by nobody.
    untagged constant boolean := jsonb_path_exists(query, '$[*] ? (!exists(@.tags[*]))');
    is_new boolean := true;
    kept bigint;
    met bigint;
begin
    -- What is not known here would be a condition that nobody keeps.
    if jsonb_typeof(p_terms) is distinct from 'object' or p_terms - array['query', 'after', 'checkpoint'] <> '{}' then
        raise exception 'the terms of an append are query, after and checkpoint' using errcode = 'CA006';
    end if;
    if checkpoint is not null then
        kept := keep_checkpoint(
            checkpoint ->> 'name', (checkpoint ->> 'position')::bigint, (checkpoint ->> 'after')::bigint);
    end if;
    perform take_turns(p_types, p_ids, p_event_stream, p_metadata, query);
    met := tagged_since(query, since);
    if untagged and met is null then
        met := found_since(query, since, 9223372036854775807, '{}');
    end if;
    if untagged or kept is not null or met is not null then
        is_new := not exists (
            select from unnest(p_event_ids) as given (id)
            where (select e.position from events e where e.event_id = given.id) is not null);
    end if;
    if is_new and kept is not null then
        raise exception 'the checkpoint % is at %', checkpoint ->> 'name', kept
            using errcode = 'CA015', detail = jsonb_build_object('name', checkpoint ->> 'name', 'position', kept);
    end if;
    if met is null or not is_new then
        met := null;
        if streams = 1 and cardinality(p_event_ids) = 1 then
            return query select * from put_in_stream(
                p_types[1], p_ids[1], p_least[1], p_most[1], p_event_ids, p_event_types, p_schema_versions, p_data, p_metadata[1]);
        else
            return query select * from put_in_streams(
                p_types, p_ids, p_least, p_most, p_event_stream, p_event_ids, p_event_types, p_schema_versions, p_data, p_metadata,
                strpos(p_metadata::text, '$tags') > 0);
        end if;
        -- Whoever appends such events is not kept out, so it is looked again once all have ended that could have come before.
        if untagged and is_new and cardinality(p_event_ids) > 0 then
            perform outlive_appends();
            met := found_since(query, since, currval('events_position_seq'), p_event_ids);
        end if;
    end if;
    if met is not null then
        raise exception 'an event that the decision depends on was appended at %', met
            using errcode = 'CA014', detail = jsonb_build_object('position', met);
    end if;
end $$;
