-- Lets queries find events by their tags that came by another way than an append: an import.
create or replace function index_tags(p_event_ids uuid[]) returns void
language plpgsql as $$
begin
    insert into event_tags (tag, position, event_type)
    select distinct tag, stored.position, stored.event_type
    from unnest(p_event_ids) as given (id)
    cross join lateral (select * from events e where e.event_id = given.id limit 1) as stored
    cross join lateral jsonb_array_elements_text(stored.metadata -> '$tags') as tag
    on conflict do nothing;
end $$;
