-- What became of a child saga of whose end its parent has not heard. Where there is no record of it, there will be none:
-- a child that begins later under this command of its parent finds 'never'.
create or replace function settle_child(p_parent_command uuid, p_saga_id text, p_saga_type text, p_namespace text)
returns table (state text, is_new boolean)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
begin
    insert into sagas (saga_id, run_id, namespace, saga_type, state, epoch, last_run, parent_command, who)
    values (p_saga_id, p_parent_command::text, p_namespace, p_saga_type, 'never', 0, '', p_parent_command, 'its parent')
    on conflict do nothing;
    return query select s.state, found from sagas s where s.parent_command = p_parent_command;
end $$;
