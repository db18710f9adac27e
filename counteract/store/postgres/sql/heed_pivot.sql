-- What became of a pivot, as a service of the release before recorded it: a saga that is at its pivot, because a newer service
-- began it, is past it, or goes forward again.
create or replace function heed_pivot(p_saga_id text, p_happened boolean) returns void
language plpgsql set search_path from current as $$
begin
    update sagas s
    set state = case when p_happened then 'past the pivot' else 'forward' end,
        since = clock_timestamp(), who = 'the release before'
    where s.saga_id = p_saga_id and s.run_id = last_run_of(p_saga_id) and s.state = 'at the pivot';
end $$;
