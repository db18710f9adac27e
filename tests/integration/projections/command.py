"""`counteract projections` for a project in a folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.commands import counteract


async def projections(*arguments: str, url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_URL": url, "PYTHONPATH": os.getcwd()}  # noqa: PTH109 - text
    return await counteract("projections", *arguments, environment=environment, folder=folder)
