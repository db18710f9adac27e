"""The errors of the parts of the embedded runtime: the last words of `counteract dev`."""

import signal

from counteract.errors import CounteractError


class PartFailed(CounteractError):
    """A part cannot run. One line: which part, why, and the next move."""

    def __init__(self, part: str, reason: str, move: str = "") -> None:
        self.part = part
        super().__init__(" ".join(f"{sentence.rstrip('.')}." for sentence in (f"{part} {reason}", move) if sentence))


class PartCrashed(PartFailed):
    """A part that was up ended by itself. The last lines of its log follow the one that says so."""

    def __init__(self, part: str, code: int, tail: str) -> None:
        self.code = code
        self.tail = tail
        super().__init__(part, f"ended by itself: {_describe_exit(code)}")

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"    {line}" for line in self.tail.splitlines())])


def _describe_exit(code: int) -> str:
    """An exit code in words; `code` as in `subprocess`, negative for a signal."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
