-- A saga ends: its record and its last event, at once. The first end wins, and nothing is taken on trust: p_saga holds what
-- the saga counts on, and what a person gave up (contradictions).
--
-- Returns the state that stands, the event's position (0 where the saga had ended before, or may not end so), and the steps
-- by which the store says otherwise: with any of them, nothing has changed.
create or replace function end_saga(
    p_saga jsonb,
    p_type text, p_id text, p_least integer, p_most integer,
    p_event_id uuid, p_event_type text, p_schema_version smallint, p_data jsonb, p_metadata jsonb
) returns table (state text, "position" bigint, contradicted text[])
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    saga constant text := p_saga ->> 'saga_id';
    run constant text := p_saga ->> 'run_id';
    wanted constant text := p_saga ->> 'state';
    epoch constant integer := (p_saga ->> 'epoch')::integer;
    current text;
    latest integer;
    wrong text[];
    appended bigint;
begin
    select s.state, s.epoch into current, latest from sagas s where s.saga_id = saga and s.run_id = run for update;
    if current is null then
        -- The store forgot the saga itself; what its history knows is in how it ends.
        insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, who, why)
        values (saga, run, p_saga ->> 'namespace', p_saga ->> 'saga_type',
                case wanted when 'compensated' then 'turning back' else 'forward' end,
                (p_saga ->> 'epoch')::integer, run, p_saga ->> 'who', 'the store had no record of it');
        current := 'forward';
    end if;
    if p_saga ? 'is_trusted' and current not in ('completed', 'compensated', 'never') then
        -- The release before says nothing that it could be held against.
        update sagas s set state = wanted, since = clock_timestamp(), who = p_saga ->> 'who'
        where s.saga_id = saga and s.run_id = run;
        select e.last_position into appended from append_event(
            p_type, p_id, p_least, p_most, p_event_id, p_event_type, p_schema_version, p_data, p_metadata) e;
        return query select wanted, coalesce(appended, 0), '{}'::text[];
        return;
    end if;
    if current in ('completed', 'compensated', 'never')
       or wanted = 'completed' and current not in ('forward', 'past the pivot')
       -- A run that turns back has settled its pivot: if the record is at it again, the store forgot the answer. Not so where
       -- it is at a later run's.
       or wanted = 'compensated' and current not in ('forward', 'at the pivot', 'turning back')
       or wanted = 'compensated' and current = 'at the pivot' and epoch < latest then
        return query select current, 0::bigint, '{}'::text[];
        return;
    end if;

    wrong := contradictions(p_saga, wanted = 'compensated');
    if cardinality(wrong) > 0 then
        return query select current, 0::bigint, wrong;
        return;
    end if;

    update sagas s set state = wanted, since = clock_timestamp(), who = p_saga ->> 'who', why = p_saga ->> 'why'
    where s.saga_id = saga and s.run_id = run;
    select e.last_position into appended from append_event(
        p_type, p_id, p_least, p_most, p_event_id, p_event_type, p_schema_version, p_data, p_metadata) e;
    return query select wanted, coalesce(appended, 0), '{}'::text[];
end $$;
