"""Reasons of failures in the engine's own words: the text of a stranger's exception is told at DEBUG alone."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

from counteract.errors import CounteractError
from counteract.storable import invalid, storable_text

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_OURS = f"{Path(__file__).parent}{os.sep}"
_MOST = 500

Words = Callable[[BaseException], str | None]
"""A function that words an exception whose kind the caller knows, and gives None for any other."""


def _no_words(_: BaseException) -> str | None:
    """No words, for a caller that knows no further kinds."""
    return None


def reason(error: BaseException, words: Words = _no_words) -> str:
    """An exception in one line: its type, and its text where that is ours, else the place that raised it."""
    said = own_words(error, words)
    return storable_text(f"{type(error).__name__}{f': {said}' if said else ''}", _MOST)


def own_words(error: BaseException, words: Words = _no_words) -> str:
    """The text of an exception where that is ours, else the place in the program that raised it."""
    if isinstance(error, CounteractError):
        return str(error)
    if isinstance(error, ValidationError):
        return invalid(error)
    return words(error) or next(_places(error.__traceback__), "")


def untold(error: BaseException, words: Words = _no_words) -> BaseException:
    """An exception of the same name, for a log or a failure: with traceback and causes, but our words for its text."""
    name, module = type(error).__name__, type(error).__module__
    kind = type(name, (Exception,), {"__module__": module, "__qualname__": type(error).__qualname__})
    told: BaseException = kind(own_words(error, words))
    told.__traceback__ = error.__traceback__
    told.__cause__ = untold(error.__cause__, words) if error.__cause__ else None
    told.__context__ = untold(error.__context__, words) if error.__context__ and not told.__cause__ else None
    told.__suppress_context__ = error.__suppress_context__
    return told


def _places(trace: TracebackType | None) -> Iterator[str]:
    """`raised in shop.cards, line 31, in charge`: in the user's own code, if it came by there; the innermost first."""
    frames = traceback.extract_tb(trace)[::-1]
    own = [each for each in frames if not each.filename.startswith((*_LIBRARIES, _OURS, "<"))]
    for each in own or frames:
        yield f"raised in {Path(each.filename).name}, line {each.lineno}, in {each.name}"
