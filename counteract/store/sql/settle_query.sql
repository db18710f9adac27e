-- A position up to which all is settled that a query by tags finds: what it would find and is under way has been waited for, and what
-- comes later is beyond it. Nothing else is waited for. A statement that comes after this one sees it all.
create or replace function settle_query(p_query jsonb) returns bigint
language plpgsql as $$
begin
    perform take_turns('{}', '{}', '{}', '{}', p_query);
    return (select case when s.is_called then s.last_value else 0 end from events_position_seq s);
end $$;
