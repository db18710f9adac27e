-- A run of a saga takes up its record. The first one makes it. A further one (a retry, a run after a reset, a child that is
-- begun anew under the same command of its parent) raises the epoch, and bars with that whatever earlier runs sent out and
-- has not begun. The same run again changes nothing.
--
-- A child begins only while its parent goes forward, like any step that can be undone: else it never will.
create or replace function take_up_saga(p_saga jsonb) returns table (is_new boolean, run_id text, state text, epoch integer)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    saga constant text := p_saga ->> 'saga_id';
    run constant text := p_saga ->> 'run_id';
    this_run constant text := p_saga ->> 'this_run';
    parent constant jsonb := nullif(p_saga -> 'parent', 'null'::jsonb);
    -- Not named like its column, which it would give way to.
    own_parent constant uuid := (parent ->> 'command_id')::uuid;
    may_begin boolean := true;
    made boolean;
    found_saga text;
    found_run text;
begin
    if parent is not null then
        select s.state = 'forward' and s.epoch <= (parent ->> 'epoch')::integer into may_begin from sagas s
        where s.saga_id = parent ->> 'saga_id' and s.run_id = parent ->> 'run_id' for share;
    end if;
    insert into sagas as s (
        saga_id, run_id, namespace, saga_type, state, epoch, last_run, who,
        parent_command, parent_saga_id, parent_run_id, parent_step, child)
    values (
        saga, run, p_saga ->> 'namespace', p_saga ->> 'saga_type',
        case when coalesce(may_begin, true) then 'forward' else 'never' end, 1, this_run, this_run,
        own_parent, parent ->> 'saga_id', parent ->> 'run_id', parent ->> 'key', parent -> 'command')
    on conflict do nothing;
    made := found;
    select s.saga_id, s.run_id into found_saga, found_run from sagas s
    where (s.saga_id = saga and s.run_id = run) or s.parent_command = own_parent;
    if found_saga <> saga then
        -- The parent's step was another child: nothing of this one may begin.
        return query select false, run, 'reused', 0;
        return;
    end if;
    if not made then
        update sagas s set epoch = s.epoch + 1, last_run = this_run, namespace = p_saga ->> 'namespace'
        where s.saga_id = found_saga and s.run_id = found_run and s.last_run <> this_run;
    end if;
    return query
        select made, s.run_id, s.state, s.epoch from sagas s where s.saga_id = found_saga and s.run_id = found_run;
end $$;
