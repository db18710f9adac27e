-- Recovery takes over a saga that nobody carries on: by the same transition as any turn, so that it takes nothing from one
-- that went on in between. Returns the state that stands: 'turning back' says that it is recovery's now.
create or replace function claim_saga(p_saga_id text, p_run_id text, p_who text, p_why text)
returns table (state text, epoch integer, saga_type text)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
begin
    update sagas s set state = 'turning back', since = clock_timestamp(), who = p_who, why = p_why
    where s.saga_id = p_saga_id and s.run_id = p_run_id and s.state = 'forward';
    return query select s.state, s.epoch, s.saga_type from sagas s where s.saga_id = p_saga_id and s.run_id = p_run_id;
end $$;
