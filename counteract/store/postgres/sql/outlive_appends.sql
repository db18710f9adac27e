-- Returns once every other transaction has ended that has drawn a position by now, as the high water mark knows it: each holds its
-- lock on the table before it draws the first. Nobody is kept waiting meanwhile. One that was prepared goes on under another name, so
-- all of those are waited for.
create or replace function outlive_appends() returns void
language plpgsql as $$
declare
    patience constant interval := '5 seconds';
    began constant timestamptz := clock_timestamp();
    looked timestamptz := began;
    pending text[];
    pids integer[];
begin
    loop
        select array_agg(l.virtualtransaction), array_agg(l.pid) filter (where l.pid is not null) into pending, pids
        from pg_locks l
        where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted and l.relation = 'events'::regclass
          and l.database = (select d.oid from pg_database d where d.datname = current_database())
          and l.pid is distinct from pg_backend_pid()
          and (pending is null or l.pid is null or l.virtualtransaction = any (pending));
        exit when pending is null;
        if clock_timestamp() > began + patience then
            raise exception 'an append has been under way for more than %', patience using errcode = 'lock_not_available';
        end if;
        if clock_timestamp() > looked + interval '50 milliseconds' then
            -- The server knows of no deadlock with somebody who only looks.
            if exists (select from unnest(pids) as pid where pg_backend_pid() = any (pg_blocking_pids(pid))) then
                raise exception 'an append that is waited for waits as well' using errcode = 'deadlock_detected';
            end if;
            looked := clock_timestamp();
        end if;
        perform pg_sleep(0.0005);
    end loop;
end $$;
