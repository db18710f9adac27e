-- Moves a consumer's checkpoint on; returns where it is if that is not before the new position, or not where it was expected.
create or replace function keep_checkpoint(p_name text, p_position bigint, p_after bigint) returns bigint
language plpgsql as $$
begin
    -- Again where another was first to begin it.
    for attempt in 1 .. 2 loop
        update checkpoints c set position = p_position, moved_at = clock_timestamp()
        where c.name = p_name and c.position < p_position and c.position = coalesce(p_after, c.position);
        if found then
            return null;
        end if;
        if coalesce(p_after, 0) = 0 then
            insert into checkpoints (name, position) values (p_name, p_position) on conflict do nothing;
            if found then
                return null;
            end if;
        end if;
    end loop;
    return coalesce((select c.position from checkpoints c where c.name = p_name), 0);
end $$;
