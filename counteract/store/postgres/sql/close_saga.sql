-- As close_saga_as, where nobody says how it has ended. It can go once no release before that one closes sagas.
create or replace function close_saga(p_saga_id text, p_run_id text, p_who text, p_why text)
returns table (state text, is_closed boolean)
language sql security definer set search_path from current as $$
    select * from close_saga_as(p_saga_id, p_run_id, p_who, p_why, null)
$$;
