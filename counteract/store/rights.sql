-- What the application may do in the database: read, append through functions, and keep tables of its own in a
-- schema of its own. Applied after every migration, by the owner: what is taken away by hand comes back, and what a
-- restored copy of the database lacks as well. docs/decisions/0060.
do $$
begin
    if to_regrole('counteract_app') is null then
        -- Without a password: until one is set, nobody gets in who must give one.
        create role counteract_app login;
        -- For whoever connects without our own settings: an open transaction that has appended delays every subscriber.
        alter role counteract_app set idle_in_transaction_session_timeout = '30s';
    end if;
exception
    when insufficient_privilege then
        raise exception 'role counteract_app is missing, and % may not create it', current_user
            using errcode = 'CA005';
    when duplicate_object or unique_violation then
        -- Roles belong to the whole server, and another database of it was being migrated.
        null;
end $$;

do $$
declare
    here constant text := current_schema();
begin
    execute format('grant usage on schema %I to counteract_app', here);
    if not has_database_privilege('counteract_app', current_database(), 'connect') then
        execute format('grant connect on database %I to counteract_app', current_database());
    end if;
    -- "$user" on the usual search path: the tables of projections are created here. Not in the schema of the events,
    -- where a function of somebody's making could take the place of one that the owner's functions call.
    if to_regnamespace('counteract_app') is null then
        create schema counteract_app;
    end if;
    grant usage, create on schema counteract_app to counteract_app;
    -- Where tables of projections are filled anew, beside the live ones of the same name.
    if to_regnamespace('counteract_rebuild') is null then
        create schema counteract_rebuild;
    end if;
    grant usage, create on schema counteract_rebuild to counteract_app;
end $$;

-- No right to write: neither to a sequence, which an append draws from, nor to a table that a function guards.
revoke all on events, commands, sagas, counteract_version, events_position_seq from counteract_app, public;
grant select on events, commands, sagas, counteract_version, events_position_seq to counteract_app;
grant select, insert, update on snapshots to counteract_app;
grant select, insert, update, delete on subscriptions, subscription_members, parked_events to counteract_app;
-- A key is destroyed through its function, and never replaced.
revoke all on personal_keys from counteract_app, public;
grant select, insert on personal_keys to counteract_app;
-- Who archives is the owner; the application is only told where a stream has gone.
revoke all on archived_streams from counteract_app, public;
grant select on archived_streams to counteract_app;
revoke all on inline_projections from counteract_app, public;
grant select on inline_projections to counteract_app;
revoke all on function archive_stream from counteract_app, public;

-- What PostgreSQL grants to everybody by itself is taken back: these act with the owner's rights.
revoke all on function
    append_event, append_events_to_stream, append_events, begin_command, record_command, fence_command, forget_subject,
    open_saga, take_up_saga, heed_ends, begin_step, record_step, fence_step, end_saga, claim_saga, close_saga, settle_child, late_step, skip_step, remember_saga,
    keep_inline, leave_inline
    from public;
grant execute on function
    append_event, append_events_to_stream, append_events, begin_command, record_command, fence_command, forget_subject,
    open_saga, take_up_saga, heed_ends, begin_step, record_step, fence_step, end_saga, claim_saga, close_saga, settle_child, late_step, skip_step, remember_saga,
    keep_inline, leave_inline
    to counteract_app;
