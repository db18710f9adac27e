-- Lets all events of a stream but the last go, which a file holds: p_digest (see stream_digest) proves that it does.
-- The last one stays, so that the stream keeps its version and nobody begins it anew.
--
-- Returns whether they are archived, now or before; false for a stream that is no more as the file has it.
--
--   CA011  a subscription has not come past them (require_past)
--   CA012  they are not what the file holds (require_archive)
create or replace function archive_stream(
    p_type text, p_id text, p_last_version integer, p_digest bytea, p_file text
) returns boolean
language plpgsql set search_path from current as $$
declare
    recorded bytea;
begin
    -- In turn with appends. What follows sees what they committed.
    perform pg_advisory_xact_lock(hashtextextended(p_id, hashtextextended(p_type, case current_schema() when 'public' then 0 else hashtextextended(current_schema(), 0) end)));

    select a.digest into recorded from archived_streams a where a.aggregate_type = p_type and a.aggregate_id = p_id;
    if found then
        return recorded = p_digest;
    end if;
    if p_last_version + 1 <> (
        select max(e.version) from events e where e.aggregate_type = p_type and e.aggregate_id = p_id)
    then
        return false;
    end if;

    perform require_past(p_type, p_id, p_last_version);
    insert into archived_streams (
        aggregate_type, aggregate_id, last_version, first_position, last_position, digest, file)
    select p_type, p_id, p_last_version, min(e.position), max(e.position), p_digest, p_file
    from events e where e.aggregate_type = p_type and e.aggregate_id = p_id and e.version <= p_last_version;
    delete from events e where e.aggregate_type = p_type and e.aggregate_id = p_id and e.version <= p_last_version;
    return true;
end $$;
