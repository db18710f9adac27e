"""Text of anybody's making, made safe to show: on a terminal, in a log, in an error."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # control characters: escape sequences, line ends, what erases
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of what is around them
    r"\u2028\u2029\ud800-\udfff]"  # further line ends, and what no encoding can write
)


def printable(text: object) -> str:
    """The text in one line, which steers no terminal and ends no line of a log. In JSON it means the same as before."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))
