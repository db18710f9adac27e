-- Before an effect that may have come after its undo is undone again: a mark, which recovery works off should that fail.
-- Returns whether there is anything to undo: an undo has passed since the external effect began.
create or replace function late_step(p_command_id uuid) returns boolean
language sql security definer set search_path from current as $$
    with marked as (
        update commands c set late_since = coalesce(c.late_since, clock_timestamp())
        where c.command_id = p_command_id and c.status = 'fenced' and c.started_at is not null
        returning 1
    )
    select exists (select from marked)
$$;
