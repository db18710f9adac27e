-- What sagas did is told by those that may carry them on, and nobody else: by the role that is connected, whichever function of the
-- owner's is at work.
create or replace function refuse_saga_stream() returns void
language plpgsql stable set search_path from current as $$
begin
    if not has_function_privilege(session_user, 'take_up_saga(jsonb)', 'execute') then
        raise exception '% may not append to the streams of sagas', session_user using errcode = 'insufficient_privilege';
    end if;
end $$;
