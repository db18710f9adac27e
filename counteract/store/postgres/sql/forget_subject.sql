-- Destroys the keys of a person's data, and with them what was sealed by them. The rows stay: they tell a key that was
-- destroyed from one that is missing. Returns the number of keys.
create or replace function forget_subject(p_subject text) returns bigint
language sql security definer set search_path from current as $$
    with forgotten as (
        update personal_keys set wrapped_key = null, forgotten_at = clock_timestamp()
        where subject = p_subject and wrapped_key is not null
        returning 1
    )
    select count(*) from forgotten;
$$;
