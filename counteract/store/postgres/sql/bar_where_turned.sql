-- Services of the release before do not hold a command against its saga's record. Where that has turned back, a command that
-- is not on record yet is barred here, as its undo would bar it: whoever took the saga over has read what there is. Not the
-- command that undoes a child saga, which comes with the turn.
create or replace function bar_where_turned(
    p_command_id uuid, p_saga_id text, p_saga_type text, p_step text, p_activity_type text, p_task_queue text
) returns void
language plpgsql set search_path from current as $$
declare
    rec record;
begin
    select s.run_id, s.state into rec from sagas s where s.saga_id = p_saga_id order by s.began_at desc limit 1 for update;
    if rec.state in ('turning back', 'compensated', 'never') and not exists (
        select from sagas k
        where k.parent_saga_id = p_saga_id and k.parent_run_id = rec.run_id and k.parent_step = p_step
    ) then
        insert into commands (command_id, status, saga_id, saga_type, step, activity_type, task_queue, run_id)
        values (p_command_id, 'fenced', p_saga_id, p_saga_type, p_step, p_activity_type, p_task_queue, rec.run_id)
        on conflict (command_id) do nothing;
    end if;
end $$;
