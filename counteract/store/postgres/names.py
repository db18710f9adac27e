"""What belongs to one store among several in a database, or on a server, by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from counteract.errors import ConfigurationError

# Longer ones would make names that PostgreSQL cuts off, and then two stores could have one name.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,44}")
_RESERVED = "pg_"
REBUILD = "@rebuild"
"""Ends the name of a subscription that fills a table which is not live yet."""
REMARK = "counteract store "
"""On the table of its version stands a store's name, unless it is the one that a store has by itself."""


@dataclass(frozen=True, slots=True)
class StoreName:
    """A store's name, and the names of all that is its own. Raises ConfigurationError for what cannot be one."""

    name: str = "counteract"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.startswith(_RESERVED):
            problem = "write at most 45 small letters, digits and underscores, a letter first, and not pg_"
            raise ConfigurationError(f"{self.name!r} is no name of a store", [problem])

    @property
    def app(self) -> str:
        """The role that an application connects as which does everything, and the schema of its projections' tables."""
        return f"{self.name}_app"

    @property
    def rebuild(self) -> str:
        """The schema in which tables are filled that are not live yet."""
        return f"{self.name}_rebuild"

    @property
    def leases(self) -> str:
        """The channel on which it is said that a lease may be free, or wanted."""
        return f"{self.name}_leases"

    @property
    def channel(self) -> str:
        """On which it is said that there are events."""
        return f"{self.name}_events"

    def role(self, part: str) -> str:
        """The role for one part of an application's work: see `counteract.store.postgres.rights`."""
        return f"{self.name}_{part}"


def rebuilt(subscription: str) -> str:
    """The projection whose rebuild it is."""
    return subscription.removesuffix(REBUILD)


def rebuild_table(subscription: str) -> str:
    """The table that it fills, in the schema of rebuilds."""
    return rebuilt(subscription).replace("-", "_")
