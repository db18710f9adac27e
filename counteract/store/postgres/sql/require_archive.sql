-- The second of two guards (the first is refuse_event_changes): whoever lets events go, of each stream it is all events up to
-- a version, they are on record with the digest of exactly these, and the next event stays.
create or replace function require_archive() returns trigger
language plpgsql set search_path from current as $$
declare
    stream record;
begin
    select g.aggregate_type, g.aggregate_id into stream
    from gone g
    left join archived_streams a on a.aggregate_type = g.aggregate_type and a.aggregate_id = g.aggregate_id
    group by g.aggregate_type, g.aggregate_id, a.last_version, a.digest
    having count(*) is distinct from a.last_version
        or sha256(string_agg(sha256(convert_to(event_line(g::events), 'UTF8')), ''::bytea order by g.version))
           is distinct from a.digest
        or not exists (
            select from events e
            where e.aggregate_type = g.aggregate_type and e.aggregate_id = g.aggregate_id
              and e.version = a.last_version + 1)
    limit 1;
    if found then
        raise exception 'events of %/% that no archive holds do not go', stream.aggregate_type, stream.aggregate_id
            using errcode = 'CA012';
    end if;
    return null;
end $$;

create or replace trigger events_archived
    after delete on events referencing old table as gone
    for each statement execute function require_archive();

alter table events enable always trigger events_archived;
