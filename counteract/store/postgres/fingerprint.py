"""Fingerprints of code, which tell whether a state or a row was made by the code of today."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from types import ModuleType
from typing import Any

from counteract.decider import Decider
from counteract.store.source_code import code_of


class UnknownCode(Exception):
    """The code that a decider depends on cannot be told by looking at it."""


def fingerprint(decider: Decider[Any, Any], state_type: Any) -> str:
    """The fingerprint of a decider: of the code behind its `evolve`, state and events, and of its `version`.

    Raises UnknownCode where that code cannot be told, and the decider has no version to go by.
    """
    upcasters = [each for kind in decider.event_classes for each in kind.upcasters.values()]
    code = code_of([decider.evolve, state_type, type(decider.initial), *decider.event_classes, *upcasters])
    if code.unknown and not decider.version:
        raise UnknownCode("; ".join(dict.fromkeys(code.unknown)))
    return _hashed(f"{decider.aggregate_type}\n{decider.version}\n{decider.initial!r}\n{code}")


def fingerprint_of(roots: Iterable[Any], more: str) -> str:
    """The fingerprint of the modules of `roots`, and of the modules of their own package that these import.

    It covers more than needed, on purpose: an edit that changes nothing counts as a change, and no change is
    overlooked. `more` is text that belongs to it.
    """
    modules = _with_imports({name for each in roots if (name := getattr(each, "__module__", None)) in sys.modules})
    text = "\n".join(_source(name) for name in sorted(modules))
    return _hashed(f"{more}\n{text}")


def _hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


def _with_imports(names: set[str]) -> set[str]:
    known: set[str] = set()
    while fresh := names - known:
        known |= fresh
        names = {other for name in fresh for other in _imported(sys.modules[name])}
    return known


def _imported(module: ModuleType) -> Iterator[str]:
    """The modules of its own package whose values a module holds."""
    package = module.__name__.partition(".")[0]
    for value in list(vars(module).values()):
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(name, str) and name.partition(".")[0] == package and name in sys.modules:
            yield name


@cache
def _source(name: str) -> str:
    try:
        return inspect.getsource(sys.modules[name])
    except (OSError, TypeError):
        # Built in, or typed at a prompt: only its name is known.
        return name
