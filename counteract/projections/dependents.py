"""Objects that depend on a projection's table: our own views go along with a rebuild, any other keeps the table in
place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, text

from counteract.projections.grants import Rights
from counteract.projections.identifiers import plain

MARK = "counteract view "
"""The beginning of the remark on a materialized view that was made here."""

# A view of a view is deeper than any view that it reads.
_OURS = """
    with recursive found (oid, depth) as (
        select to_regclass(:table)::oid, 0
        union
        select view.oid, found.depth + 1
        from found
        join pg_depend on refclassid = 'pg_class'::regclass and refobjid = found.oid and classid = 'pg_rewrite'::regclass
        join pg_rewrite rule on rule.oid = objid and rule.ev_class <> found.oid
        join pg_class view on view.oid = rule.ev_class and view.relkind = 'm' and obj_description(view.oid, 'pg_class') like :mark
    ), ours as (select oid, max(depth) as depth from found where depth <= :deepest group by oid)
"""
_VIEWS = text(f"""
    {_OURS}
    select format('%I.%I', space.nspname, view.relname) as name, array(
               select attname::text from pg_attribute where attrelid = view.oid and attnum > 0 order by attnum) as columns,
           pg_get_viewdef(view.oid) as query, obj_description(view.oid, 'pg_class') as mark,
           array(select indexdef from pg_indexes where schemaname = space.nspname and tablename = view.relname) as indexes
    from ours join pg_class view using (oid) join pg_namespace space on space.oid = view.relnamespace
    where ours.depth > 0 order by ours.depth
""")  # noqa: S608 - a constant
# Parts of a table go with it: its constraints, indexes, rules and triggers.
_OTHERS = text(f"""
    {_OURS}, things as (
        select oid from ours
        union select kind.oid from ours join pg_class c using (oid) join pg_type kind on kind.oid = c.reltype or kind.typelem = c.reltype
    )
    select distinct case when rule.oid is null then pg_describe_object(d.classid, d.objid, d.objsubid)
                         else pg_describe_object('pg_class'::regclass, rule.ev_class, 0) end as name
    from things join pg_depend d on d.refobjid = things.oid and d.refclassid in ('pg_class'::regclass, 'pg_type'::regclass)
    left join pg_rewrite rule on rule.oid = d.objid and d.classid = 'pg_rewrite'::regclass
    where d.deptype = 'n' and coalesce(rule.ev_class, d.objid) not in (select oid from things)
      and not exists (
        select from pg_depend own where own.classid = d.classid and own.objid = d.objid
          and own.refobjid in (select oid from things) and own.deptype in ('a', 'i'))
    order by name
""")  # noqa: S608 - a constant
_UNLIMITED = text("set local statement_timeout = 0")
_ANY = 1000


def others_on(connection: Connection, table: str, *, beside_ours: bool) -> Sequence[str]:
    """The objects that keep the table from being dropped, by kind and name: `view report`.

    With `beside_ours` our own views are left out, and the objects that depend on these count as well.
    """
    values = {"table": table, "mark": f"{MARK}%", "deepest": _ANY if beside_ours else 0}
    return connection.execute(_OTHERS, values).scalars().all()


@contextmanager
def views_made_anew(connection: Connection, table: str) -> Iterator[None]:
    """Drop our own views on a table, which is dropped meanwhile, and make them again once it is there.

    All of it is in the caller's transaction, and no statement in it has a time limit: it would take as long again at
    the next attempt.
    """
    views = connection.execute(_VIEWS, {"table": table, "mark": f"{MARK}%", "deepest": _ANY}).all()
    rights = [Rights(connection, view.name, view.columns) for view in views]
    for view in reversed(views):
        connection.exec_driver_sql(plain(f"drop materialized view {view.name}"))
    yield
    connection.execute(_UNLIMITED)
    for view, granted in zip(views, rights, strict=True):
        query = view.query.rstrip().removesuffix(";")
        comment = f"comment on materialized view {view.name} is '{view.mark}'"
        for statement in (f"create materialized view {view.name} as {query}", *view.indexes, comment):
            connection.exec_driver_sql(plain(statement))
        granted.give(connection)
