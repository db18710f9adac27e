"""The command with the one database that it is given, or none."""

from __future__ import annotations

import os
import subprocess

from tests import commands


async def counteract(*arguments: str, database_url: str | None, given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    url = {"DATABASE_URL": database_url} if database_url else {}
    return await commands.counteract(*arguments, environment=environment | url, given=given)
