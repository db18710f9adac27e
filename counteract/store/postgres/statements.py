"""SQL that other sessions have sent, in a form that can be shown: without the values in it."""

from __future__ import annotations

import re

SHOWN = 200
"""The most characters that are shown."""
VALUE = "?"
CUT = "…"

# A part that does not end where it should, or whose end depends on a setting (a backslash), hides the rest, for what
# comes behind it cannot be told from a value. The order matters: each begins with what none before it takes.
_PARTS = re.compile(
    r"""
      (?P<kept>    [^\W\d][\w$]* | "(?:[^"\\]|"")*" | \$\d+ )
    | (?P<left_out> --[^\n]*(?:\n|$) | /\*(?:(?!/\*|\*/).)*\*/ )
    | (?P<value>   '(?:[^'\\]|'')*' | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ | \.?\d[\w.]* )
    | (?P<rest>    ["'$\\].* | /\*.* )
    """,
    re.VERBOSE | re.DOTALL,
)


def without_values(statement: str) -> str:
    """The statement in one line, with `?` for each literal, and without comments. Placeholders such as `$1` stay."""
    text = " ".join(_PARTS.sub(_shown, statement).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + CUT


def _shown(part: re.Match[str]) -> str:
    match part.lastgroup:
        case "kept":
            return part[0]
        case "left_out":
            return " "
        case "rest":
            return CUT
        case _:
            return VALUE
