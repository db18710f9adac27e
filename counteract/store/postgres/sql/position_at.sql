-- The position up to which the log had come at a time; 0 before the first event. By bisection over the primary key: times
-- rise with positions, but for the instant between drawing a position and reading the clock, so an index on them, which
-- every append would pay for, is not needed.
create or replace function position_at(p_time timestamptz) returns bigint
language plpgsql stable set search_path from current as $$
declare
    settled bigint := 0;
    beyond bigint := coalesce((select max(position) from events), 0) + 1;
    middle bigint;
    last_before record;
begin
    while beyond - settled > 1 loop
        middle := settled + (beyond - settled) / 2;
        select e.position, e.created_at into last_before
        from events e where e.position > settled and e.position <= middle
        order by e.position desc limit 1;
        if not found or last_before.created_at <= p_time then
            settled := middle;
        else
            beyond := last_before.position;
        end if;
    end loop;
    return settled;
end $$;
