-- Ends what keep_inline began, at a moment without appends. Without any such projection appends are not looked at.
create or replace function leave_inline(p_name text) returns void
language plpgsql security definer set search_path from current as $$
begin
    lock table events in share row exclusive mode;
    delete from inline_projections p where p.name = p_name;
    if not exists (select from inline_projections) and exists (
        select from pg_trigger t where t.tgrelid = 'events'::regclass and t.tgname = 'events_projected')
    then
        alter table events disable trigger events_projected;
    end if;
end $$;
