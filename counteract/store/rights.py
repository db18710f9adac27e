"""What the role that is connected may do, against what the application needs and may not have (`rights.sql`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from counteract.store.connecting import Connection
from counteract.store.inspecting import VERSION_TABLE

_GUARDED = ("events", "commands", "sagas", VERSION_TABLE)
_PAST_THE_FUNCTIONS = ("insert", "update", "delete", "truncate", "trigger")

NEEDED = frozenset(
    {
        *((table, "select") for table in (*_GUARDED, "subscriptions", "snapshots", "personal_keys")),
        *((table, right) for table in ("subscriptions", "snapshots") for right in ("insert", "update")),
        ("personal_keys", "insert"),
    }
)
FORBIDDEN = frozenset(
    {
        *((table, right) for table in _GUARDED for right in _PAST_THE_FUNCTIONS),
        *(("personal_keys", right) for right in _PAST_THE_FUNCTIONS if right != "insert"),
    }
)

# Whoever may become the owner is as good as the owner.
_ROLE = """
    select current_user, r.rolsuper or pg_has_role(c.relowner, 'member'), n.nspname,
           has_schema_privilege(n.oid, 'create'),
           has_sequence_privilege('events_position_seq', 'usage, update'),
           array(select p.proname from pg_proc p
                 where p.pronamespace = n.oid and p.prosecdef and not has_function_privilege(p.oid, 'execute')
                 order by p.proname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace, pg_roles r
    where c.oid = 'events'::regclass and r.rolname = current_user
"""
# A right to a single column is one, too.
_HELD = """
    select t.name, t.privilege
    from unnest(%s::text[], %s::text[]) as t (name, privilege)
    where to_regclass(t.name) is not null and case
        when t.privilege in ('insert', 'update') then has_any_column_privilege(t.name, t.privilege)
        else has_table_privilege(t.name, t.privilege) end
"""


@dataclass(frozen=True, slots=True)
class Rights:
    """Of one role, in words: `insert on events`."""

    role: str
    is_owner: bool
    """Or a superuser, or a member of the owner's role: nothing is refused, so nothing is missing or too much."""
    schema: str
    """Where the events are."""
    missing: Sequence[str] = ()
    forbidden: Sequence[str] = ()
    may_create_beside_the_events: bool = False
    """What is created there can be called with the owner's rights."""


async def rights_of(connection: Connection) -> Rights:
    """Those of the role that is connected."""
    row = await (await connection.execute(_ROLE)).fetchone()
    role, is_owner, schema, may_create, may_draw, uncallable = row or ("", False, "", False, False, [])
    if is_owner:
        return Rights(role, is_owner=True, schema=schema)
    asked = sorted(NEEDED | FORBIDDEN)
    held = set(await (await connection.execute(_HELD, tuple(map(list, zip(*asked, strict=True))))).fetchall())
    missing = [*_in_words(NEEDED - held), *(f"execute {name}" for name in uncallable)]
    forbidden = [*_in_words(FORBIDDEN & held), *(["a position of events_position_seq"] if may_draw else [])]
    return Rights(role, False, schema, missing, forbidden, may_create)


def _in_words(rights: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{privilege} on {table}" for table, privilege in sorted(rights)]
