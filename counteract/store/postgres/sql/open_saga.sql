-- A run of a saga takes up its record (take_up_saga); that of the first run goes together with the saga's first event.
create or replace function open_saga(
    p_saga jsonb,
    p_type text, p_id text, p_least integer, p_most integer,
    p_event_id uuid, p_event_type text, p_schema_version smallint, p_data jsonb, p_metadata jsonb
) returns table (is_new boolean, run_id text, state text, epoch integer, "position" bigint)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    taken record;
    appended bigint;
begin
    if p_saga ->> 'parent' is null then
        insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, who)
        values (p_saga ->> 'saga_id', p_saga ->> 'run_id', p_saga ->> 'namespace', p_saga ->> 'saga_type', 'forward', 1,
                p_saga ->> 'this_run', p_saga ->> 'this_run')
        on conflict do nothing;
        if found then
            return query
                select true, p_saga ->> 'run_id', 'forward', 1, coalesce(e.last_position, 0) from append_event(
                    p_type, p_id, p_least, p_most, p_event_id, p_event_type, p_schema_version, p_data, p_metadata) e;
            return;
        end if;
    end if;
    select * into taken from take_up_saga(p_saga);
    if taken.is_new and taken.state = 'forward' then
        select e.last_position into appended from append_event(
            p_type, p_id, p_least, p_most, p_event_id, p_event_type, p_schema_version, p_data, p_metadata) e;
    end if;
    return query select taken.is_new, taken.run_id, taken.state, taken.epoch, coalesce(appended, 0);
end $$;
