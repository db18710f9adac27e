-- Recovery takes over a saga that nobody carries on: by the same transition as any turn, so that it takes nothing from one
-- that went on in between. Returns the state that stands: 'turning back' says that it is recovery's now.
--
-- A service of the release before carries out a pivot (of p_pivots) and says nothing of it to the record: where there is one
-- that may have happened, the saga is at its pivot.
create or replace function claim_saga(p_saga_id text, p_run_id text, p_pivots text[], p_who text, p_why text)
returns table (state text, epoch integer, saga_type text)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
begin
    update sagas s
    set state = case
            when exists (
                select from commands c
                where c.saga_id = p_saga_id and c.run_id = p_run_id and c.kind is null and c.undoes is null
                  and c.activity_type = any (p_pivots) and c.status in ('started', 'done'))
            then 'at the pivot' else 'turning back' end,
        since = clock_timestamp(), who = p_who, why = p_why
    where s.saga_id = p_saga_id and s.run_id = p_run_id and s.state = 'forward';
    return query select s.state, s.epoch, s.saga_type from sagas s where s.saga_id = p_saga_id and s.run_id = p_run_id;
end $$;
