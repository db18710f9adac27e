"""A copy of the engine with one line changed: the checkout itself is never touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.mutants.catalogue import ROOT, Mutant

PACKAGE = "counteract"


def copy_with(mutant: Mutant, folder: Path) -> None:
    """Make `folder` a place to import the changed engine and the unchanged tests from. Raises Stale."""
    changed = mutant.applied(ROOT / PACKAGE)
    shutil.copytree(ROOT / PACKAGE, folder / PACKAGE, copy_function=_link)
    target = folder / PACKAGE / mutant.file
    # Unlinked first: written through the link, the change would reach the checkout.
    target.unlink()
    target.write_text(changed, encoding="utf-8")
    (folder / "tests").symlink_to(ROOT / "tests", target_is_directory=True)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
