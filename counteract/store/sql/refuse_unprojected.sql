-- Refuses events that an inline projection is about from whoever does not keep it up to date: nothing else would.
-- What a transaction does keep up to date is listed in its setting counteract.inline; * is for events that come back.
-- keep_inline puts it to work.
create or replace function refuse_unprojected() returns trigger
language plpgsql set search_path from current as $$
declare
    kept constant text[] := coalesce(nullif(current_setting('counteract.inline', true), ''), '{}');
    forgotten text;
begin
    select p.name into forgotten
    from inline_projections p
    where p.name <> all (kept) and exists (select from appended a where a.event_type = any (p.event_types))
    order by p.name limit 1;
    if found and '*' <> all (kept) then
        raise exception 'projection % is kept by whoever appends', forgotten
            using errcode = 'CA013', detail = jsonb_build_object('name', forgotten);
    end if;
    return null;
end $$;
