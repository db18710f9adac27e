"""The check for renamed event classes: events stored under the old name would be passed over without a word."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.decider import aggregate_types_of
from counteract.errors import ConfigurationError
from counteract.projections.projection import Projection

# Looks over the whole log where an event was never stored: a rebuild reads it too.
_UNLIMITED = text("set local statement_timeout = 0")
_NEVER_STORED = text("""
    select name from unnest(cast(:names as text[])) as name
    where not exists (select from events where event_type = name)
""")
_STORED = text("select distinct event_type from events where aggregate_type = any (:types)")


async def refuse_renamed(connection: AsyncConnection, projection: Projection) -> None:
    """Raises ConfigurationError where the log has no event of a handler, but unnamed ones of the same aggregate.

    Unnamed are events that the projection neither handles nor ignores.
    """
    await connection.execute(_UNLIMITED)
    never = sorted(await connection.scalars(_NEVER_STORED, {"names": sorted(projection.decoder.event_types)}))
    if not never:
        return
    types = {name for each in projection.handled if each.event_type in never for name in aggregate_types_of(each)}
    stored = set(await connection.scalars(_STORED, {"types": sorted(types)}))
    if unnamed := sorted(stored - projection.decoder.event_types - projection.ignored_names):
        problem = (
            f"{', '.join(never)} was never stored, but {', '.join(unnamed)} is, and has no handler: a class that is renamed keeps "
            f'its stored name, as in `class {never[0]}(Event, name="{unnamed[0]}")`; if it is another event, declare that the old '
            f'one changes nothing with ignores("{unnamed[0]}")'
        )
        raise ConfigurationError(
            f"projection {projection.name!r} would be rebuilt without some of its events", [problem]
        )
