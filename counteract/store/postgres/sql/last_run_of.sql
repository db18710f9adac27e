-- For services of the release before, which do not say for which run of a saga they record a command: without it recovery
-- would not find what they did. A workflow id may have been used before; they serve the last saga that began under it. Its
-- record is locked, before the command's row, as everybody does it.
create or replace function last_run_of(p_saga_id text) returns text
language sql set search_path from current as $$
    select s.run_id from sagas s where s.saga_id = p_saga_id order by s.began_at desc limit 1 for update
$$;
