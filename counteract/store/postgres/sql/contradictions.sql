-- The steps of a saga by which the store says otherwise than the saga that is about to pass its pivot, or to end.
-- p_saga has what it counts on as done (done, and keys: their steps, in the same order; children: those of child sagas,
-- with child_keys, and child_ids: their workflow ids) and what a person gave up (skipped), all by command id: what is counted on
-- must be so, and nothing else may have an effect that was not undone. p_undone: everything that can be undone is to have been.
--
-- The search path is that of its callers: to set it anew takes as long as a look into a table.
create or replace function contradictions(p_saga jsonb, p_undone boolean) returns text[]
language plpgsql stable as $$
declare
    saga constant text := p_saga ->> 'saga_id';
    run constant text := p_saga ->> 'run_id';
    -- An array of ids is written in JSON as PostgreSQL writes it, but for its brackets.
    done constant uuid[] := coalesce(translate(p_saga ->> 'done', '[]"', '{}'), '{}')::uuid[];
    children constant uuid[] := coalesce(translate(p_saga ->> 'children', '[]"', '{}'), '{}')::uuid[];
    -- The pivot that is about to be sent; none where it ends.
    own constant uuid := (p_saga ->> 'command_id')::uuid;
    skipped constant uuid[] := coalesce(translate(p_saga ->> 'skipped', '[]"', '{}'), '{}')::uuid[];
    as_said boolean;
begin
    -- As a rule the saga's commands are those that it counts on, each of them done, and it has no children.
    select count(*) = cardinality(done)
           and count(*) filter (where c.command_id = any (done) and c.status = 'done' and c.undone_since is null) = count(*)
           and children = '{}' and not exists (select from sagas k where k.parent_saga_id = saga and k.parent_run_id = run)
    into as_said
    from commands c
    where c.saga_id = saga and c.run_id = run and c.undoes is null and c.kind is not null;
    if as_said then
        return '{}';
    end if;

    return (select coalesce(array_agg(step order by step), '{}') from (
        select c.step from commands c
        where c.saga_id = saga and c.run_id = run
          and c.undoes is null and c.kind is not null
          and c.command_id <> all (skipped)
          -- Its own pivot it settles. Another one that may stand, which an earlier run began, is not to be passed over.
          and not (c.kind = 'pivot' and c.status in ('fenced', 'started')
                   and (p_undone or c.command_id = any (done) or coalesce(c.command_id = own, false)))
          and case
              when c.command_id = any (done) then c.status <> 'done' or c.undone_since is not null
              when p_undone and c.kind <> 'compensatable' then false
              -- Done, begun, or fenced while it was under way: it may have an effect, unless its undo is on record.
              else (c.status in ('done', 'started') or c.status = 'fenced' and c.started_at is not null)
                   and not exists (select from commands u where u.undoes = c.command_id and u.status = 'done')
          end
        union all
        select d.key from unnest(done, array(select jsonb_array_elements_text(p_saga -> 'keys'))) as d (id, key)
        where not exists (select from commands c where c.command_id = d.id)
        union all
        select d.key from unnest(
            children, array(select jsonb_array_elements_text(p_saga -> 'child_keys')),
            array(select jsonb_array_elements_text(p_saga -> 'child_ids'))) as d (id, key, saga_id)
        -- A saga of the release before says none of this.
        where d.key is not null
          and not exists (select from sagas k where k.parent_command = d.id)
          -- One that the release before wrote, or that was made anew after a loss, does not name its parent.
          and not exists (select from sagas k where k.saga_id = d.saga_id and k.parent_command is null)
        union all
        select k.parent_step from sagas k
        where k.parent_saga_id = saga and k.parent_run_id = run
          and k.parent_command <> all (skipped)
          and case
              -- One that is being called off, or was, counts no more than a step whose undo has passed its fence.
              when k.parent_command = any (children) then k.state <> 'completed' or exists (
                  select from commands u
                  where u.saga_id = p_saga ->> 'saga_id' and u.run_id = p_saga ->> 'run_id' and u.step = k.parent_step
                    and u.kind is null and u.undoes is null)
              else k.state not in ('compensated', 'never') and not exists (
                  select from commands u
                  -- By what was given: the ids in sagas are compared bytewise, for which commands has no index.
                  where u.saga_id = p_saga ->> 'saga_id' and u.run_id = p_saga ->> 'run_id' and u.step = k.parent_step
                    and u.kind is null and u.undoes is null and u.status = 'done')
          end
    ) as wrong);
end $$;
