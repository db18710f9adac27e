-- How many streams an append is about. Refuses, before anything is done for it, one that may not be, and arguments that mean none: of two
-- arrays whose subscripts or lengths differ, one would be checked and another stored; a bound or an id that is null is held against nothing.
-- Whoever may append may give whatever PostgreSQL takes for an array. The errors are those of append_to_streams.
create or replace function streams_of_append(
    p_types text[], p_ids text[], p_least integer[], p_most integer[],
    p_event_stream integer[], p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[],
    p_data jsonb[], p_metadata jsonb[]
) returns integer
language plpgsql stable as $$
declare
    max_streams constant integer := 256;
    streams constant integer := cardinality(p_types);
    -- Null for an array without elements; [1:n] for one of n elements in a row, which are counted from 1.
    of_streams constant text := array_dims(p_types);
    of_events constant text := array_dims(p_event_ids);
    wrong text;
begin
    if num_nulls(p_types, p_ids, p_least, p_most, p_event_stream, p_event_ids, p_event_types, p_schema_versions, p_data, p_metadata) > 0
    then
        wrong := 'an array is null';
    elsif of_streams <> '[1:' || streams || ']' or of_streams is distinct from array_dims(p_ids)
        or of_streams is distinct from array_dims(p_least) or of_streams is distinct from array_dims(p_most)
    then
        wrong := 'the arrays of streams must have one length, and subscripts from 1';
    elsif of_events <> '[1:' || cardinality(p_event_ids) || ']' or of_events is distinct from array_dims(p_event_stream)
        or of_events is distinct from array_dims(p_event_types) or of_events is distinct from array_dims(p_schema_versions)
        or of_events is distinct from array_dims(p_data) or of_events is distinct from array_dims(p_metadata)
    then
        wrong := 'the arrays of events must have one length, and subscripts from 1';
    elsif num_nonnulls(
        array_position(p_types, null), array_position(p_ids, null), array_position(p_least, null), array_position(p_most, null),
        array_position(p_event_stream, null), array_position(p_event_ids, null), array_position(p_event_types, null),
        array_position(p_schema_versions, null), array_position(p_data, null), array_position(p_metadata, null)) > 0
    then
        wrong := 'an element of an array is null';
    elsif not (1 <= all (p_event_stream) and streams >= all (p_event_stream)) then
        wrong := format('p_event_stream must name the streams by 1 to %s', streams);
    else
        for stream in 1 .. streams loop
            if p_least[stream] > p_most[stream] then
                wrong := format('no version is from %s to %s, as p_least and p_most say', p_least[stream], p_most[stream]);
            end if;
        end loop;
    end if;
    if wrong is not null then
        raise exception 'this is no append: %', wrong using errcode = 'CA006';
    end if;
    if 'saga' = any (p_types) then
        perform refuse_saga_stream();
    end if;
    -- Each stream takes an entry of the lock table, which all sessions share.
    if streams > max_streams then
        raise exception 'an append takes at most % streams, this one has %', max_streams, streams
            using errcode = 'CA003';
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'an append needs READ COMMITTED, not %', upper(current_setting('transaction_isolation'))
            using errcode = 'CA004';
    end if;
    return streams;
end $$;
