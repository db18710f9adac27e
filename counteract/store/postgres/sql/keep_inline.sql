-- From now on, whoever appends events of these types keeps the projection up to date in the same transaction, or is refused.
-- Waits for all appends that are under way, and lets none begin until the transaction ends. Returns whether it is new.
-- One that is there is kept for these events too: rows were made of those before, which code that handles fewer must not leave out.
create or replace function keep_inline(p_name text, p_event_types text[]) returns boolean
language plpgsql security definer set search_path from current as $$
declare
    is_new boolean;
begin
    lock table events in share row exclusive mode;
    -- Asked only now: another process may have been first.
    is_new := not exists (select from inline_projections p where p.name = p_name);
    insert into inline_projections as p (name, event_types) values (p_name, p_event_types)
    on conflict (name) do update set since = clock_timestamp(), event_types = array(
        select unnest(p.event_types) union select unnest(excluded.event_types) order by 1);
    create or replace trigger events_projected
        after insert on events referencing new table as appended
        for each statement execute function refuse_unprojected();
    return is_new;
end $$;
