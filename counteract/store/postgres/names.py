"""Names of everything that belongs to one store among several of a database, or of a server."""

from __future__ import annotations

import re
from dataclasses import dataclass

from counteract.errors import ConfigurationError

# Longer ones would make names that PostgreSQL cuts off, and then two stores could have one name.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,44}")
_RESERVED = "pg_"
REBUILD = "@rebuild"
"""The end of the name of a subscription that fills a table which is not live yet."""
REMARK = "counteract store "
"""The beginning of the remark on a store's version table that gives its name; a store with the usual name may have
none.
"""


@dataclass(frozen=True, slots=True)
class StoreName:
    """A store's name, and the names of all that is its own. Raises ConfigurationError for a name that no store can
    have.
    """

    name: str = "counteract"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.startswith(_RESERVED):
            problem = "write at most 45 small letters, digits and underscores, a letter first, and not pg_"
            raise ConfigurationError(f"{self.name!r} is no name of a store", [problem])

    @property
    def app(self) -> str:
        """The role of an application that does everything, and the schema of its projections' tables."""
        return f"{self.name}_app"

    @property
    def rebuild(self) -> str:
        """The schema in which tables are filled that are not live yet."""
        return f"{self.name}_rebuild"

    @property
    def leases(self) -> str:
        """The channel that announces leases which may be free, or are wanted."""
        return f"{self.name}_leases"

    @property
    def channel(self) -> str:
        """The channel that announces new events."""
        return f"{self.name}_events"

    def role(self, part: str) -> str:
        """The role for one part of an application's work: see `counteract.store.postgres.rights`."""
        return f"{self.name}_{part}"


def rebuilt(subscription: str) -> str:
    """The name of the projection that this subscription rebuilds."""
    return subscription.removesuffix(REBUILD)


def rebuild_table(subscription: str) -> str:
    """The table that the rebuild with this subscription fills, in the schema of rebuilds."""
    return rebuilt(subscription).replace("-", "_")
