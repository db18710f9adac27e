-- The first position after one and before another of an event that an item of the query without tags finds, those events apart: null if
-- there is none. Along the log whatever the statistics say: behind one that grows, they would have all of the rest of it sorted.
create or replace function found_since(p_query jsonb, p_after bigint, p_before bigint, p_but uuid[]) returns bigint
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
begin
    return (
        select min((
            select e.position from events e
            where e.position > p_after and e.position < p_before
              and (coalesce(item -> 'types', '[]') = '[]' or item -> 'types' ? e.event_type) and e.event_id <> all (p_but)
            order by e.position limit 1))
        from jsonb_array_elements(p_query) as item where item -> 'tags' ->> 0 is null);
end $$;
