-- What finds events by their tags. It stays when an event is archived: a name that is taken stays so.
create or replace function index_tags() returns trigger
language plpgsql set search_path from current as $$
begin
    insert into event_tags (tag, position, event_type)
    select distinct tag, new.position, new.event_type from jsonb_array_elements_text(new.metadata -> '$tags') as tag
    on conflict do nothing;
    return null;
end $$;

-- Whoever appends without tags pays for one look into the metadata.
create or replace trigger events_tagged
    after insert on events
    for each row when (new.metadata ? '$tags') execute function index_tags();
