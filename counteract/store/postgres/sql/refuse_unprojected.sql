-- Refuses events that an inline projection is about from whoever does not keep it up to date: nothing else would.
-- What a transaction does keep up to date is in its setting counteract.inline_events: by the projection's name, the events that its
-- code handles, for that of another release may handle fewer. counteract.inline holds names alone, as the release before has them;
-- * is for events that come back. keep_inline puts it to work.
create or replace function refuse_unprojected() returns trigger
language plpgsql set search_path from current as $$
declare
    by_name constant text[] := coalesce(nullif(current_setting('counteract.inline', true), ''), '{}');
    kept constant jsonb := coalesce(nullif(current_setting('counteract.inline_events', true), ''), '{}');
    forgotten text;
begin
    select p.name into forgotten
    from inline_projections p
    where p.name <> all (by_name)
      and exists (
          select from appended a
          where a.event_type = any (p.event_types) and not coalesce(kept -> p.name ? a.event_type, false))
    order by p.name limit 1;
    if found and '*' <> all (by_name) then
        raise exception 'projection % is kept by whoever appends', forgotten
            using errcode = 'CA013', detail = jsonb_build_object('name', forgotten);
    end if;
    return null;
end $$;
