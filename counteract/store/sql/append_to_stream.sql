-- Appends several events to one stream, as append_event does a single one: what is not settled here goes to append_to_streams.
-- They share their metadata, and so their tags, if there are any. Returns the position of each, in their order.
create or replace function append_to_stream(
    p_type text, p_id text, p_least integer, p_most integer,
    p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[], p_data jsonb[], p_metadata jsonb
) returns table (stream_version integer, positions bigint[])
language plpgsql security definer set search_path from current as $$
#variable_conflict use_column
declare
    events constant integer := cardinality(p_event_ids);
    actual integer;
    appended bigint[];
    other uuid;
begin
    if p_type = 'saga' then
        perform refuse_saga_stream();
    end if;
    if events > 0 and current_setting('transaction_isolation') = 'read committed' and not p_metadata ? '$tags' then
        perform pg_advisory_xact_lock(hashtextextended(p_id, hashtextextended(p_type, case current_schema() when 'public' then 0 else hashtextextended(current_schema(), 0) end)));
        actual := coalesce((
            select e.version from events e
            where e.aggregate_type = p_type and e.aggregate_id = p_id
            order by e.version desc limit 1), 0);
        if actual between p_least and p_most then
            -- Positions are drawn in the order of the events.
            with inserted as (
                insert into events as e (
                    event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata)
                select g.event_id, p_type, p_id, actual + g.number::integer, g.event_type, g.schema_version, g.data, p_metadata
                from unnest(p_event_ids, p_event_types, p_schema_versions, p_data)
                     with ordinality as g (event_id, event_type, schema_version, data, number)
                order by g.number
                on conflict (event_id) do nothing
                returning e.position
            )
            select array_agg(i.position) into appended from inserted i;
            if cardinality(appended) = events then
                return query select actual + events, appended;
                return;
            elsif cardinality(appended) > 0 then
                other := (
                    select e.event_id from events e
                    where e.aggregate_type = p_type and e.aggregate_id = p_id and e.version > actual limit 1);
                raise exception 'event ids are stored already, but not % with this content', other
                    using errcode = 'CA002', detail = jsonb_build_object('event_id', other);
            end if;
        end if;
    end if;
    return query select * from append_to_streams(
        array[p_type], array[p_id], array[p_least], array[p_most], array_fill(1, array[events]),
        p_event_ids, p_event_types, p_schema_versions, p_data, array_fill(p_metadata, array[events]));
end $$;
