-- The first position after one and before another where there is an event that a query finds, those events apart: null if there is none.
-- Along the indexes whatever the statistics say: behind a log that grows, they would have all of the rest of it sorted.
create or replace function found_since(p_query jsonb, p_after bigint, p_before bigint, p_but uuid[]) returns bigint
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
    item jsonb;
    types text[];
    tags text[];
    met bigint;
begin
    for item in select value from jsonb_array_elements(p_query) loop
        types := array(select jsonb_array_elements_text(item -> 'types'));
        tags := array(select jsonb_array_elements_text(item -> 'tags'));
        if cardinality(tags) > 0 then
            met := (
                select t.position from event_tags t
                where t.tag = tags[1] and t.position > p_after and t.position < p_before
                  and (types = '{}' or t.event_type = any (types))
                  and not exists (
                    select from unnest(tags[2:]) as other (tag)
                    where not exists (select from event_tags o where o.tag = other.tag and o.position = t.position))
                order by t.position limit 1);
        else
            met := (
                select e.position from events e
                where e.position > p_after and e.position < p_before
                  and (types = '{}' or e.event_type = any (types)) and e.event_id <> all (p_but)
                order by e.position limit 1);
        end if;
        if met is not null then
            return met;
        end if;
    end loop;
    return null;
end $$;
