"""Contracts of events: whatever was stored under a name and version can still be read, as a folder of JSON Schemas
shows.

`published` compares the folder with today's classes, by `json_schema` (classes as schemas), `compatibility` (schemas
against each other) and `words` (schemas in words).
"""

from counteract.store.contracts.published import (
    ENGINE_CONTRACTS,
    Difference,
    Key,
    Problem,
    check,
    contract_of,
    differences,
    key_of,
    publish,
    published_in,
)

__all__ = [
    "ENGINE_CONTRACTS",
    "Difference",
    "Key",
    "Problem",
    "check",
    "contract_of",
    "differences",
    "key_of",
    "publish",
    "published_in",
]
