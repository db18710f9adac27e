-- Before an effect that may have come after its undo is undone again: a mark, which recovery works off should that fail.
-- Returns when it was marked; nothing where there is nothing to undo: no undo has passed since the external effect began.
create or replace function late_step(p_command_id uuid) returns timestamptz
language sql security definer set search_path from current as $$
    update commands c set late_since = clock_timestamp()
    where c.command_id = p_command_id and c.status = 'fenced' and c.started_at is not null
    returning late_since
$$;
