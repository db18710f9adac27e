-- Lets all events of a stream but the last go, which a file holds: p_digest (see stream_digest) proves that it does.
-- The last one stays, so that the stream keeps its version and nobody begins it anew.
--
-- Returns whether they are archived, now or before; false for a stream that is no more as the file has it.
--
--   CA011  a subscription has not come past them
--   CA012  they are not what the file holds (require_archive)
create or replace function archive_stream(
    p_type text, p_id text, p_last_version integer, p_digest bytea, p_file text
) returns boolean
language plpgsql set search_path from current as $$
declare
    recorded bytea;
    oldest bigint;
    newest bigint;
    behind record;
begin
    -- In turn with appends. What follows sees what they committed.
    perform pg_advisory_xact_lock(hashtextextended(p_id, hashtextextended(p_type, 0)));

    select a.digest into recorded from archived_streams a where a.aggregate_type = p_type and a.aggregate_id = p_id;
    if found then
        return recorded = p_digest;
    end if;
    if p_last_version + 1 <> (
        select max(e.version) from events e where e.aggregate_type = p_type and e.aggregate_id = p_id)
    then
        return false;
    end if;

    select min(e.position), max(e.position) into oldest, newest
    from events e where e.aggregate_type = p_type and e.aggregate_id = p_id and e.version <= p_last_version;
    select s.name, s.position into behind from subscriptions s where s.position < newest order by s.position limit 1;
    if found then
        raise exception 'subscription % is at position %, and %/% would be archived up to position %',
            behind.name, behind.position, p_type, p_id, newest
            using errcode = 'CA011';
    end if;

    insert into archived_streams (
        aggregate_type, aggregate_id, last_version, first_position, last_position, digest, file)
    values (p_type, p_id, p_last_version, oldest, newest, p_digest, p_file);
    delete from events e where e.aggregate_type = p_type and e.aggregate_id = p_id and e.version <= p_last_version;
    return true;
end $$;
