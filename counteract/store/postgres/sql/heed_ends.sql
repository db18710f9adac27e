-- Those of the sagas whose record has an end. One that the release before wrote to the log alone is put on record first.
create or replace function heed_ends(p_saga_ids text[], p_run_ids text[]) returns table (saga_id text, run_id text)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
begin
    update sagas s
    set state = case e.event_type when 'SagaCompleted' then 'completed' else 'compensated' end,
        since = clock_timestamp(), who = 'the release before'
    from unnest(p_saga_ids, p_run_ids) as g (saga_id, run_id)
    join events e on e.aggregate_type = 'saga' and e.aggregate_id = g.saga_id
         and e.event_type in ('SagaCompleted', 'SagaCompensated') and e.event_data ->> 'run_id' = g.run_id
    where s.saga_id = g.saga_id and s.run_id = g.run_id and s.state not in ('completed', 'compensated', 'never');
    return query
        select s.saga_id, s.run_id from sagas s
        join unnest(p_saga_ids, p_run_ids) as g (saga_id, run_id) on s.saga_id = g.saga_id and s.run_id = g.run_id
        where s.state in ('completed', 'compensated', 'never');
end $$;
