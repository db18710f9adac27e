-- The first position after this one of an event that an item of the query with tags finds: null if there is none.
create or replace function tagged_since(p_query jsonb, p_after bigint) returns bigint
language plpgsql as $$
begin
    return (
        select min((
            select t.position from event_tags t
            where t.tag = item -> 'tags' ->> 0 and t.position > p_after
              and (coalesce(item -> 'types', '[]') = '[]' or item -> 'types' ? t.event_type)
              and not exists (
                select from jsonb_array_elements_text(item -> 'tags') as other
                where not exists (select from event_tags o where o.tag = other and o.position = t.position))
            order by t.position limit 1))
        from jsonb_array_elements(p_query) as item where item -> 'tags' ->> 0 is not null);
end $$;
