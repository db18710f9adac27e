-- A person has finished a saga by hand: its record ends, and says who did it and why. Past the pivot that means completed; before it
-- what p_as says, completed or compensated, and where it says nothing what the record makes likely: at the pivot completed, else
-- compensated. Effects of it that came late, which recovery would undo or cannot, are that person's too: also where the saga has ended.
-- Returns the state that stands, and whether it is this call that closed it.
create or replace function close_saga_as(p_saga_id text, p_run_id text, p_who text, p_why text, p_as text)
returns table (state text, is_closed boolean)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    rec record;
    about jsonb := jsonb_build_object('correlation_id', p_saga_id, 'saga', p_saga_id);
    common jsonb;
    was_open boolean;
    was_late boolean;
    ending text;
begin
    if p_as not in ('completed', 'compensated') then
        raise exception 'a saga is closed as completed or compensated, not as %', p_as using errcode = 'CA006';
    end if;
    select s.state, s.saga_type into rec from sagas s where s.saga_id = p_saga_id and s.run_id = p_run_id for update;
    was_open := rec.state not in ('completed', 'compensated', 'never');
    update commands c set late_since = null
    where c.saga_id = p_saga_id and c.run_id = p_run_id and c.late_since is not null and rec.state is not null;
    was_late := found;
    common := jsonb_build_object('saga_type', rec.saga_type, 'run_id', p_run_id);
    if was_open or was_late then
        perform append_event(
            'saga', p_saga_id, 0, 2147483647, gen_random_uuid(), 'SagaResolved', 1::smallint,
            common || jsonb_build_object('step', '', 'decision', 'close', 'who', p_who, 'why', p_why), about);
    end if;
    if was_open then
        ending := case when rec.state = 'past the pivot' then 'completed'
            when p_as is not null then p_as
            when rec.state = 'at the pivot' then 'completed' else 'compensated' end;
        update sagas s set state = ending, since = clock_timestamp(), who = p_who, why = p_why
        where s.saga_id = p_saga_id and s.run_id = p_run_id;
        perform append_event(
            'saga', p_saga_id, 0, 2147483647, gen_random_uuid(),
            case ending when 'completed' then 'SagaCompleted' else 'SagaCompensated' end, 1::smallint,
            common || case ending
                when 'completed' then jsonb_build_object('steps', '[]'::jsonb)
                else jsonb_build_object('cause', 'closed by hand', 'undone', '[]'::jsonb, 'skipped', '[]'::jsonb) end,
            about);
    end if;
    return query select s.state, was_open or was_late from sagas s where s.saga_id = p_saga_id and s.run_id = p_run_id;
end $$;
