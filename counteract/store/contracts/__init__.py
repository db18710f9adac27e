"""Event contracts: what was ever written under a name and version can be read, and a test of one folder tells."""

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
