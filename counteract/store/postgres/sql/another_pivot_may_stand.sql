-- Whether another pivot of the saga than this one has taken effect, or may have: it has begun, and neither its answer nor what became of
-- it is on record. Fenced by a settlement, it is as open as before.
create or replace function another_pivot_may_stand(p_saga_id text, p_run_id text, p_pivot uuid) returns boolean
language sql stable set search_path from current as $$
    select exists (
        select from commands c
        where c.saga_id = p_saga_id and c.run_id = p_run_id and c.kind = 'pivot' and c.undoes is null and c.command_id <> p_pivot
          and (c.status = 'done' or (c.status = 'started' or c.status = 'fenced' and c.started_at is not null)
               and not exists (select from commands u where u.undoes = c.command_id and u.status = 'done')))
$$;
