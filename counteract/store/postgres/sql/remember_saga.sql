-- A record for a saga that the store forgot from its beginning, so that it can be claimed. Where there is one, it stands.
create or replace function remember_saga(p_saga jsonb) returns void
language sql security definer set search_path from current as $$
    insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, who, why)
    values (p_saga ->> 'saga_id', p_saga ->> 'run_id', p_saga ->> 'namespace', p_saga ->> 'saga_type', 'forward',
            (p_saga ->> 'epoch')::integer, p_saga ->> 'run_id', 'recovery', 'the store had no record of it')
    on conflict do nothing
$$;
