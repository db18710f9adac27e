"""The rights on a table that another takes the place of: its owner, and what each role may do with it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from counteract.projections.identifiers import plain

# The owner's own rights come with the ownership. A column that the successor lacks takes its rights with it.
_GRANTS = text("""
    select format('grant %s%s on %s to %s%s', given.privilege_type, '(' || quote_ident(given.attname) || ')', cast(:table as text),
                  case given.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(given.grantee)) end,
                  case when given.is_grantable then ' with grant option' else '' end)
    from pg_class c, lateral (
        select null::name as attname, a.* from aclexplode(c.relacl) a
        union all
        select attname, a.* from pg_attribute, aclexplode(attacl) a
        where attrelid = c.oid and attname = any (cast(:columns as text[]))
    ) given
    where c.oid = to_regclass(:table) and given.grantee <> c.relowner
""")
_OWNER = text("select relowner from pg_class where oid = to_regclass(:table)")
# A role that is no member of the owner could not give it away. Then the successor stays its own.
_GIVE = text("""
    select format('alter table %s owner to %I', cast(:table as text), pg_get_userbyid(cast(:owner as oid)))
    from pg_class where oid = to_regclass(:table) and relowner <> :owner and pg_has_role(current_user, cast(:owner as oid), 'member')
""")


class Rights:
    """The rights on one table or materialized view, for its successor of the same name."""

    def __init__(self, connection: Connection, table: str, columns: Sequence[str]) -> None:
        """Read the rights of now. `table` is quoted, with its schema; `columns` are those of the successor."""
        self._table = table
        self._owner = connection.scalar(_OWNER, {"table": table})
        self._grants = connection.execute(_GRANTS, {"table": table, "columns": list(columns)}).scalars().all()

    def give(self, connection: Connection) -> None:
        """Grant them again, now that the successor has the name. Where there was no table before, nothing is done."""
        if self._owner is None:
            return
        gift = connection.scalar(_GIVE, {"table": self._table, "owner": self._owner})
        for statement in (*((gift,) if gift else ()), *self._grants):
            connection.exec_driver_sql(plain(statement))
