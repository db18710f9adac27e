-- Events are append-only for everybody, the owner of the table included. The triggers stand beside their function.
create or replace function refuse_event_changes() returns trigger
language plpgsql as $$
begin
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
