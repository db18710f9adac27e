-- Records of sagas that are over leave, with the rows of their commands. Their events stay. Whether the workflow is gone, so that none of
-- its messages can arrive any more and nobody can reset it, the database cannot know: whoever calls this has asked. What it can know is
-- asked again here, under the lock that every step takes first.
--
-- A child's record is what its parent believes, and stays as long as the parent's. A parent's stays as long as a child of it goes on.
create or replace function prune_sagas(p_saga_ids text[], p_run_ids text[], p_older_than interval)
returns table (sagas bigint, commands bigint)
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    ended constant text[] := array['completed', 'compensated', 'never'];
    gone_sagas bigint;
    gone_commands bigint;
begin
    if p_older_than < interval '1 day' then
        raise exception 'a saga that ended less than a day ago may still have messages under way' using errcode = 'CA021';
    end if;
    perform from sagas s join unnest(p_saga_ids, p_run_ids) as g (saga_id, run_id) using (saga_id, run_id)
    order by s.saga_id, s.run_id for update of s;
    with chosen as materialized (
        select s.saga_id, s.run_id
        from sagas s join unnest(p_saga_ids, p_run_ids) as g (saga_id, run_id) using (saga_id, run_id)
        where s.state = any (ended) and s.since < clock_timestamp() - p_older_than
          and not exists (select from commands c where c.saga_id = s.saga_id collate "default" and c.run_id = s.run_id and c.late_since is not null)
          -- Not by `exists`, for which all of the table would be hashed.
          and (select true from sagas p where p.saga_id = s.parent_saga_id and p.run_id = s.parent_run_id) is null
          and (select true from sagas c where c.parent_saga_id = s.saga_id and c.parent_run_id = s.run_id
               and c.state <> all (ended) limit 1) is null
    ), sent as (
        delete from commands c using chosen where c.saga_id = chosen.saga_id collate "default" and c.run_id = chosen.run_id returning 1
    ), left_over as (
        delete from sagas s using chosen where s.saga_id = chosen.saga_id and s.run_id = chosen.run_id returning 1
    )
    select (select count(*) from left_over), (select count(*) from sent) into gone_sagas, gone_commands;
    return query select gone_sagas, gone_commands;
end $$;
