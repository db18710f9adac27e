-- Events are append-only for everybody, the owner of the table included. The triggers stand beside their function.
-- Only archive_stream may let events go, and require_archive looks at which.
create or replace function refuse_event_changes() returns trigger
language plpgsql as $$
declare
    callers text;
begin
    if tg_op = 'DELETE' then
        get diagnostics callers = pg_context;
        if callers ~ '\marchive_stream\(' then
            return null;
        end if;
    end if;
    raise exception 'events are append-only: % is refused', tg_op
        using errcode = 'CA010',
              hint = 'Append an event that corrects the earlier one.';
end $$;

-- Per statement: one that would touch no row breaks the rule as well.
create or replace trigger events_append_only
    before update or delete or truncate on events
    for each statement execute function refuse_event_changes();

-- In sessions that replicate as well, where triggers otherwise rest.
alter table events enable always trigger events_append_only;
