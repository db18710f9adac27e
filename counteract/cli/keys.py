"""The master key that a command works with: what `[tool.counteract] master-key` of pyproject.toml names, else the environment's.

    master-key = "shop.keys:wrapper"

There `wrapper` is a `KeyWrapper`, or a function without parameters that makes one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from counteract.cli.application import imported, setting
from counteract.errors import ConfigurationError

if TYPE_CHECKING:
    from counteract.store import KeyWrapper

_PARTS = ("name", "wrap", "unwrap")


def own_keys() -> KeyWrapper | None:
    """None where pyproject.toml names none: then it is the environment's, if anybody's. Raises ConfigurationError."""
    named = setting("master-key")
    if named is None:
        return None
    if not isinstance(named, str) or not re.fullmatch(r"[\w.]+:\w+", named):
        raise _wrong(named, 'this names nothing: write master-key = "module:wrapper"')
    module, _, attribute = named.partition(":")
    found: Any = getattr(imported(module), attribute, None)
    if found is None:
        raise _wrong(named, f"{module} has no {attribute}: correct the name")
    wrapper: KeyWrapper = found if _is_wrapper(found) or not callable(found) else found()
    if not _is_wrapper(wrapper):
        raise _wrong(named, f"{named} is no KeyWrapper: give it {', '.join(_PARTS)}")
    return wrapper


def _is_wrapper(candidate: Any) -> bool:
    return not isinstance(candidate, type) and all(hasattr(candidate, part) for part in _PARTS)


def _wrong(named: object, problem: str) -> ConfigurationError:
    return ConfigurationError(f"[tool.counteract] master-key = {named!r} in pyproject.toml", [problem])
