-- A further run takes up the record of a saga that has begun: the epoch rises, and what earlier runs sent out and has not
-- begun is barred with that. The same run again changes nothing. Where the store forgot the saga, it is made anew.
create or replace function take_up_saga(p_saga jsonb) returns table (run_id text, state text, epoch integer)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    saga constant text := p_saga ->> 'saga_id';
    run constant text := p_saga ->> 'run_id';
    this_run constant text := p_saga ->> 'this_run';
    parent constant uuid := (p_saga ->> 'parent_command')::uuid;
    found_saga text;
    found_run text;
begin
    insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, parent_command, who)
    values (saga, run, p_saga ->> 'namespace', p_saga ->> 'saga_type', 'forward', 1, this_run, parent, this_run)
    on conflict do nothing;
    select s.saga_id, s.run_id into found_saga, found_run from sagas s
    where (s.saga_id = saga and s.run_id = run) or s.parent_command = parent;
    update sagas s set epoch = s.epoch + 1, last_run = this_run, namespace = p_saga ->> 'namespace'
    where s.saga_id = found_saga and s.run_id = found_run and s.last_run <> this_run;
    return query
        select s.run_id, s.state, s.epoch from sagas s where s.saga_id = found_saga and s.run_id = found_run;
end $$;
