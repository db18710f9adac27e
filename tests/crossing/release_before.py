"""The release before, from which upgrades begin."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELEASE_BEFORE = "5ce2807"
"""The last commit whose sagas had no record."""


def unpack_release_before(to: Path) -> None:
    """Its engine alone, as git keeps it."""
    packed = subprocess.run(
        ["git", "archive", RELEASE_BEFORE, "counteract"], cwd=ROOT, capture_output=True, check=False
    )
    assert packed.returncode == 0, f"this needs the whole history: `git fetch --unshallow` ({packed.stderr.decode()})"
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(to, filter="data")
