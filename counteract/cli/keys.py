"""The master key of a command: what `[tool.counteract] master-key` of pyproject.toml names, else the environment's.

    master-key = "shop.keys:wrapper"

There `wrapper` is a `KeyWrapper`, or a function without parameters that makes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counteract.cli.application import named_object, wrong

if TYPE_CHECKING:
    from counteract.store import KeyWrapper

SETTING = "master-key"
_PARTS = ("name", "wrap", "unwrap")


def own_keys() -> KeyWrapper | None:
    """The master key that pyproject.toml names; None where it names none. Raises ConfigurationError."""
    named = named_object(SETTING, "wrapper")
    if named is None:
        return None
    name, found = named
    wrapper: KeyWrapper = found if _is_wrapper(found) or not callable(found) else found()
    if not _is_wrapper(wrapper):
        raise wrong(SETTING, name, f"{name} is no KeyWrapper: give it {', '.join(_PARTS)}")
    return wrapper


def _is_wrapper(candidate: Any) -> bool:
    return not isinstance(candidate, type) and all(hasattr(candidate, part) for part in _PARTS)
