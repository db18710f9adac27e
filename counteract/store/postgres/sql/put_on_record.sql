-- A saga that a worker of the release before begins after the migration gets its record here: it writes the event alone, and
-- without a record nothing of it would be found, should it be lost. Epoch 0: it says no epoch with what it sends. Any other
-- saga has its record by now. It can go together with begin_command. Events that are put back from an archive or imported begin
-- nothing: their sagas are over, or another store's.
create or replace function put_on_record() returns trigger
language plpgsql set search_path from current as $$
begin
    if current_setting('counteract.on_record', true) = 'no' then
        return null;
    end if;
    if exists (select from sagas s
               where s.saga_id = new.aggregate_id and s.run_id = new.event_data ->> 'run_id') then
        return null;
    end if;
    insert into sagas (saga_id, run_id, saga_type, state, epoch, last_run, who)
    values (new.aggregate_id, new.event_data ->> 'run_id', new.event_data ->> 'saga_type', 'forward', 0,
            new.event_data ->> 'run_id', 'the release before')
    on conflict do nothing;
    return null;
end $$;

create or replace trigger events_put_on_record
    after insert on events
    for each row when (new.aggregate_type = 'saga' and new.event_type = 'SagaStarted')
    execute function put_on_record();
