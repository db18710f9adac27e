"""Files that commands read and write."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from counteract.errors import CounteractError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def named(file: Path | str) -> Iterator[None]:
    """Tell in one line what the system says of a file or its disk. A reader that has seen enough is no error."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CounteractError(f"{file}: {error.strerror or error}. Correct that, and run the command again") from error
