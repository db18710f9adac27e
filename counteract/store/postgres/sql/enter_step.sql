-- What the statement of every step does first: lock the saga's record, and hold the step against it. The record's row is
-- always locked before a command's. docs/decisions/0086 has the rules, docs/protocol the proof.
--
-- p_step->>'role' is 'forward'; 'undo' of a single step that the saga goes on without; 'turn', an undo that belongs to the
-- saga's end and turns it back if it has not turned; or 'settle'. Without an epoch, the release before sent it.
--
-- Returns false where the command's own row is final already: it is the answer, whatever the record says.
--
--   CA020  the record says otherwise    detail: {"state", "epoch"}
create or replace function enter_step(p_step jsonb) returns boolean
language plpgsql set search_path from current as $$
#variable_conflict use_variable
declare
    saga constant text := p_step ->> 'saga_id';
    run constant text := p_step ->> 'run_id';
    kind constant text := p_step ->> 'kind';
    role constant text := p_step ->> 'role';
    said constant integer := (p_step ->> 'epoch')::integer;
    locks_alone constant boolean := kind = 'pivot' and role in ('forward', 'settle');
    rec record;
    own record;
    begun boolean;
    allowed text[];
    wrong text[];
begin
    if role = 'turn' and said is not null then
        -- Without a lock of its own where it has turned: those who come together would wait for one another.
        -- A run that turns back has settled its pivot: if the record is at it again, the store forgot the answer.
        update sagas s set state = 'turning back', since = clock_timestamp(), who = p_step ->> 'who'
        where s.saga_id = saga and s.run_id = run and s.state in ('forward', 'at the pivot') and s.epoch <= said;
    end if;
    if locks_alone then
        select s.state, s.epoch into rec from sagas s where s.saga_id = saga and s.run_id = run for update;
    else
        select s.state, s.epoch into rec from sagas s where s.saga_id = saga and s.run_id = run for share;
    end if;
    if rec.state is null and said is not null then
        -- The store forgot the saga itself. What its history knows is in what it sends.
        insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, who, why)
        values (saga, run, p_step ->> 'namespace', p_step ->> 'saga_type',
                case when role = 'turn' then 'turning back' when kind = 'retriable' then 'past the pivot' else 'forward' end,
                said, run, p_step ->> 'who', 'the store had no record of it')
        on conflict do nothing;
        select s.state, s.epoch into rec from sagas s where s.saga_id = saga and s.run_id = run for update;
    end if;

    select c.status, c.started_at, c.undone_since into own from commands c
    where c.command_id = coalesce((p_step ->> 'undoes')::uuid, (p_step ->> 'command_id')::uuid);
    -- The undo of a child saga is a command of its own, without an original to fence.
    if (role = 'forward' or p_step ->> 'undoes' is null) and own.status in ('done', 'rejected', 'fenced') then
        return false;
    end if;
    if rec.state is null or role = 'settle' then
        return true;
    end if;
    begun := case when role = 'forward' or p_step ->> 'undoes' is null then own.status = 'started' else own.status = 'fenced' or own.undone_since is not null end;

    if said > rec.epoch then
        update sagas s set epoch = said where s.saga_id = saga and s.run_id = run and s.epoch < said;
    elsif said < rec.epoch and not coalesce(begun, false)
          and (role <> 'turn' or rec.state in ('forward', 'at the pivot')) then
        raise exception 'a later run of the saga % has taken over', saga
            using errcode = 'CA020', detail = jsonb_build_object('state', 'superseded', 'epoch', rec.epoch);
    end if;
    if role = 'forward' and kind = 'retriable' and said is not null and rec.state in ('forward', 'at the pivot') then
        -- Nobody sends it who has not seen the pivot answered: the store forgot that.
        update sagas s set state = 'past the pivot', since = clock_timestamp(), who = p_step ->> 'who',
                           why = 'its pivot had been answered'
        where s.saga_id = saga and s.run_id = run and s.state in ('forward', 'at the pivot');
        return true;
    end if;

    allowed := case
        -- The release before says neither which undo it is nor, by its dispatch, where the saga stands.
        when said is null and role <> 'forward' then array[rec.state]
        when said is null and kind = 'retriable' then array[rec.state]
        when said is null then array['forward', 'at the pivot', 'past the pivot', 'completed']
        when role = 'turn' then array['turning back', 'compensated']
        when role = 'undo' and begun then array['forward', 'at the pivot', 'past the pivot', 'turning back', 'compensated', 'completed']
        when role = 'undo' then array['forward']
        when kind = 'retriable' then array['past the pivot']
        when kind = 'pivot' then array['forward', 'at the pivot']
        else array['forward']
    end;
    if rec.state <> all (allowed) then
        raise exception 'the saga % is %', saga, rec.state
            using errcode = 'CA020', detail = jsonb_build_object('state', rec.state, 'epoch', rec.epoch);
    end if;
    if role = 'forward' and kind = 'pivot' and p_step ? 'done' then
        wrong := contradictions(p_step, false);
        if cardinality(wrong) > 0 then
            raise exception 'the store says otherwise of %', array_to_string(wrong, ', ')
                using errcode = 'CA020', detail = jsonb_build_object('state', 'contradicted', 'epoch', rec.epoch);
        end if;
    end if;
    return true;
end $$;
