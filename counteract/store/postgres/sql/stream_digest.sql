-- Of a stream's events up to a version: the SHA-256 of the SHA-256 of their lines, in order. Null where there are none.
create or replace function stream_digest(p_type text, p_id text, p_last_version integer) returns bytea
language sql stable as $$
    select sha256(string_agg(sha256(convert_to(event_line(e), 'UTF8')), ''::bytea order by e.version))
    from events e
    where e.aggregate_type = p_type and e.aggregate_id = p_id and e.version <= p_last_version
$$;
