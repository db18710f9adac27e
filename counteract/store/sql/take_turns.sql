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
    max_tags constant integer := 256;
    seed constant bigint := case current_schema() when 'public' then 0 else hashtextextended(current_schema(), 0) end;
    tagged constant bigint := hashtextextended('$tags', seed);
    tags constant text[] := array(
        select distinct tag from unnest(p_metadata) as about, jsonb_array_elements_text(about -> '$tags') as tag);
begin
    if cardinality(tags) + coalesce(jsonb_array_length(p_query), 0) > max_tags then
        raise exception 'an append takes at most % tags and items of a query', max_tags using errcode = 'CA003';
    end if;
    perform case when exclusive then pg_advisory_xact_lock(key) else pg_advisory_xact_lock_shared(key) end
    from (
        select key, bool_or(exclusive) as exclusive
        from (
            select hashtextextended(s.id, hashtextextended(s.type, seed)), s.number = any (p_event_stream)
            from unnest(p_types, p_ids) with ordinality as s (type, id, number)
            union all
            select hashtextextended(tag, tagged), false from unnest(tags) as tag
            union all
            select hashtextextended(item -> 'tags' ->> 0, tagged), true
            from jsonb_array_elements(p_query) as item where item -> 'tags' ->> 0 is not null
            union all
            select hashtextextended('$import', seed), false where p_query is not null
            union all
            select hashtextextended('$query', seed), true
            from jsonb_array_elements(p_query) as item where item -> 'tags' ->> 0 is null
        ) as wanted (key, exclusive)
        group by key
        order by key
    ) as locks;
end $$;
