-- A run of a saga takes up its record (take_up_saga); the first run makes it, together with the saga's first event.
create or replace function open_saga(
    p_saga jsonb,
    p_type text, p_id text, p_least integer, p_most integer,
    p_event_id uuid, p_event_type text, p_schema_version smallint, p_data jsonb, p_metadata jsonb
) returns table (is_new boolean, run_id text, state text, epoch integer, "position" bigint)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    this_run constant text := p_saga ->> 'this_run';
    appended bigint;
begin
    insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, parent_command, who)
    values (
        p_saga ->> 'saga_id', p_saga ->> 'run_id', p_saga ->> 'namespace', p_saga ->> 'saga_type', 'forward', 1, this_run,
        (p_saga ->> 'parent_command')::uuid, this_run)
    on conflict do nothing;
    if not found then
        return query select false, t.run_id, t.state, t.epoch, 0::bigint from take_up_saga(p_saga) t;
        return;
    end if;
    select e.last_position into appended from append_event(
        p_type, p_id, p_least, p_most, p_event_id, p_event_type, p_schema_version, p_data, p_metadata) e;
    return query select true, p_saga ->> 'run_id', 'forward', 1, coalesce(appended, 0);
end $$;
