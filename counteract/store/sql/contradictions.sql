-- The steps of a saga by which the store says otherwise than the saga that is about to pass its pivot, or to end: what it
-- counts on as done must be so, and nothing else may have an effect that was neither undone nor given up by a person.
-- p_keys are the steps of p_done, in the same order.
create or replace function contradictions(
    p_saga_id text, p_run_id text, p_undone boolean, p_done uuid[], p_keys text[], p_skipped uuid[]
) returns text[]
language sql stable set search_path from current as $$
    select coalesce(array_agg(step order by step), '{}') from (
        select c.step from commands c
        where c.saga_id = p_saga_id and c.run_id = p_run_id and c.undoes is null and c.kind is not null
          and c.command_id <> all (p_skipped) and not (c.kind = 'pivot' and c.status in ('fenced', 'started'))
          and case
              when c.command_id = any (p_done) then c.status <> 'done' or c.undone_since is not null
              when p_undone and c.kind <> 'compensatable' then false
              -- Done, begun, or fenced while it was under way: it may have an effect, unless its undo is on record.
              else (c.status in ('done', 'started') or c.status = 'fenced' and c.started_at is not null)
                   and not exists (select from commands u where u.undoes = c.command_id and u.status = 'done')
          end
        union all
        select d.key from unnest(p_done, p_keys) as d (id, key)
        where not exists (select from commands c where c.command_id = d.id)
    ) as wrong
$$;
