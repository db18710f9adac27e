"""The check of the master key: whether it opens what is stored, and whether an earlier one can go."""

from __future__ import annotations

from counteract.errors import ConfigurationError, PersonalDataLocked
from counteract.store.checks.finding import Finding, advice, ok, problem
from counteract.store.master_key import MASTER_KEY_VARIABLE, KeyWrapper, MasterKey
from counteract.store.postgres.connect import Connection

# The oldest key and the newest: if the master key was changed, one of them tells. Ids rise with time.
_SAMPLE = """
    (select key_id, wrapped_key from personal_keys where wrapped_key is not null order by key_id limit 1)
    union
    (select key_id, wrapped_key from personal_keys where wrapped_key is not null order by key_id desc limit 1)
"""
_COUNT = """
    select count(*), count(*) filter (where wrapped_by is distinct from %s) from personal_keys where wrapped_key is not null
"""
_CHECK = "master key"


async def examined_keys(connection: Connection, master: KeyWrapper | None = None) -> Finding:
    """The finding about a master key, by default that of the environment."""
    try:
        master = master or MasterKey.from_environment()
    except ConfigurationError as error:
        return problem(_CHECK, error.subject, "; ".join(error.problems))
    keys = await (await connection.execute(_SAMPLE)).fetchall()
    if not keys:
        return ok(_CHECK, "no personal data is stored")
    if master is None:
        what = f"personal data is stored, and {MASTER_KEY_VARIABLE} is not set here"
        return advice(_CHECK, what, "set it for whatever appends or reads personal data, and for this to be checked")
    try:
        for key_id, wrapped in keys:
            await master.unwrap(wrapped, key_id.bytes)
    except (PersonalDataLocked, OSError) as error:
        return problem(_CHECK, f"{master.name} does not open what is stored", str(error))
    return await _examined_age(connection, master)


async def _examined_age(connection: Connection, master: KeyWrapper) -> Finding:
    row = await (await connection.execute(_COUNT, (master.name,))).fetchone()
    number, others = row or (0, 0)
    told = {"key": master.name, "keys": number, "under_others": others}
    if not others:
        return ok(_CHECK, f"{master.name} has wrapped all {number} keys of persons: no earlier one is needed", **told)
    what = f"of {number} keys of persons, {others} were wrapped by another master key than {master.name}, or by an earlier release"
    remedy = "if that other one is to go: run `counteract personal rewrap` as the owner of the database, and this again"
    return advice(_CHECK, what, remedy, **told)
