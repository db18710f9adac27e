"""The user that PostgreSQL runs as: it refuses to run as root, so under root it is `nobody`, which owns its files."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_READ_AND_ENTER = 0o055
_ENTER = 0o001


def unprivileged_user() -> int | None:
    """The user to change to, or None where this process is not root."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def private_folder(path: Path, user: int | None) -> Path:
    """Make a folder that only `user` can enter, and can reach even where the folders above it are closed to others."""
    path.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        os.chown(path, user, user)
        _let_through(path)
    return path


def let_program_run(program: Path, user: int | None) -> None:
    """Make a program reachable for the user, which was installed under a strict umask, or in root's home."""
    if user is None:
        return
    _let_through(program)
    if program.stat().st_mode & _READ_AND_ENTER != _READ_AND_ENTER:
        for path in (program.parent.parent, *program.parent.parent.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | (_READ_AND_ENTER if mode & 0o100 else 0o044))


def _let_through(path: Path) -> None:
    # Passing through is enough: what stands in these folders stays unlisted.
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & _ENTER:
            folder.chmod(mode | _ENTER)
