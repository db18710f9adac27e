-- Waits for whoever appends to these streams, and for whoever's decision these events may touch, or theirs this one: until the
-- transaction ends, none of them goes on. In the order of the keys, and each once and in the stronger mode (append_to_streams).
--
-- Events share a lock on each of their tags, so that they do not wait for each other; a query has one on the first tag of each of its
-- items, which whatever it finds has as well, to itself. An import, which knows too many tags to lock them, keeps all queries by tag
-- out. Queries without tags, which find what nobody locks, only take turns with each other.
create or replace function take_turns(
    p_types text[], p_ids text[], p_event_stream integer[], p_metadata jsonb[], p_query jsonb
) returns void
language plpgsql as $$
declare
    -- Each takes an entry of the lock table, as each stream does.
    max_tags constant integer := 256;
    seed constant bigint := case current_schema() when 'public' then 0 else hashtextextended(current_schema(), 0) end;
    tagged constant bigint := hashtextextended('$tags', seed);
    wrong_item constant jsonpath := 'strict $[*] ? (@.type() != "object" || @.types.type() != "array" || @.tags.type() != "array"
        || @.types[*].type() != "string" || @.tags[*].type() != "string")';
    shared bigint[];
    alone bigint[] := '{}';
begin
    shared := array(
        select distinct hashtextextended(tag, tagged)
        from unnest(p_metadata) as about, jsonb_array_elements_text(about -> '$tags') as tag);
    if p_query is not null then
        -- What is none would find nothing, and be no condition.
        if jsonb_typeof(p_query) <> 'array' or p_query = '[]' or jsonb_path_exists(p_query, wrong_item) then
            raise exception 'a query is an array of items, whose types and tags are arrays of texts' using errcode = 'CA006';
        end if;
        alone := array(
            select hashtextextended(coalesce(item -> 'tags' ->> 0, '$query'), case when item -> 'tags' ->> 0 is null then seed else tagged end)
            from jsonb_array_elements(p_query) as item);
        shared := shared || hashtextextended('$import', seed);
    end if;
    if cardinality(shared) + cardinality(alone) > max_tags + 1 then
        raise exception 'an append takes at most % tags and items of a query', max_tags using errcode = 'CA003';
    end if;
    for stream in 1 .. coalesce(cardinality(p_types), 0) loop
        if stream = any (p_event_stream) then
            alone := alone || hashtextextended(p_ids[stream], hashtextextended(p_types[stream], seed));
        else
            shared := shared || hashtextextended(p_ids[stream], hashtextextended(p_types[stream], seed));
        end if;
    end loop;
    perform case when key = any (alone) then pg_advisory_xact_lock(key) else pg_advisory_xact_lock_shared(key) end
    from (select key from unnest(shared || alone) as key order by key) as locks;
end $$;
