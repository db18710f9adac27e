-- Every subscription has read a stream's events up to a version, and none of them is parked; refused otherwise, with CA011.
create or replace function require_past(p_type text, p_id text, p_last_version integer) returns void
language plpgsql stable set search_path from current as $$
declare
    newest constant bigint := (
        select max(e.position) from events e
        where e.aggregate_type = p_type and e.aggregate_id = p_id and e.version <= p_last_version);
    behind record;
begin
    -- What is inline has read whatever is stored.
    select s.name, s.position into behind from subscriptions s
    where s.position < newest and s.name not in (select p.name from inline_projections p)
    order by s.position limit 1;
    if found then
        raise exception 'subscription % is at position %, and %/% would be archived up to position %',
            behind.name, behind.position, p_type, p_id, newest
            using errcode = 'CA011';
    end if;
    select p.subscription, p.position into behind from parked_events p
    where p.aggregate_type = p_type and p.aggregate_id = p_id and p.position <= newest and p.discarded_at is null limit 1;
    if found then
        raise exception 'subscription % has parked position % of %/%, which would be archived: redrive or discard it',
            behind.subscription, behind.position, p_type, p_id
            using errcode = 'CA011';
    end if;
end $$;
