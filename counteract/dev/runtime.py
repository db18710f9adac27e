"""The run of `counteract dev`: servers, migrations, the project's own parts, and then watching them all."""

from __future__ import annotations

import asyncio
import os
import shlex
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from counteract.dev.command import CommandPart
from counteract.dev.config import read_settings, with_settings
from counteract.dev.errors import PartFailed
from counteract.dev.ports import free_port
from counteract.dev.postgres import EmbeddedPostgres
from counteract.dev.state import StateFolder
from counteract.dev.supervisor import Supervisor
from counteract.dev.temporal import NAMESPACE, EmbeddedTemporal
from counteract.store.master_key import MASTER_KEY_VARIABLE, MasterKey
from counteract.store.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from counteract.dev.config import DevSettings

_OTHER_FILE = "Choose another file with --env"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevOptions:
    """The options of `counteract dev`.

    `project` is the folder whose pyproject.toml names the parts; without a `state` folder nothing is kept.

    `env` is a file for other shells to read: what the parts are told of each other, as long as all of it is up.
    """

    project: Path
    state: Path | None = None
    port: int | None = None
    ui_port: int | None = None
    env: Path | None = None

    def state_of(self, part: str) -> Path | None:
        """The folder in which a part keeps its files; None where nothing is kept."""
        return self.state / part if self.state else None


async def run(options: DevOptions, *, say: Callable[[str], None] = print) -> None:
    """Run everything until interrupted. Raises PartFailed when a part cannot start, or ends by itself."""
    async with Supervisor(say) as supervisor:
        await start(supervisor, options, say=say)
        await supervisor.wait()


async def start(
    supervisor: Supervisor, options: DevOptions, *, say: Callable[[str], None] = print
) -> Mapping[str, str]:
    """Bring everything up, and return the environment through which the parts find each other."""
    settings = read_settings(options.project)
    logs = await StateFolder.open("counteract dev", options.state)
    supervisor.afterwards(logs.close)
    variables = await _start_servers(supervisor, options)
    variables |= {MASTER_KEY_VARIABLE: os.environ.get(MASTER_KEY_VARIABLE) or _master_key_in(logs.path)}
    variables = with_settings(variables | _free_ports(settings), settings.env)
    for part in settings.parts:
        await supervisor.add(CommandPart(part, variables, logs, say=say))
    if options.env:
        _write_environment(options.env, variables)
        supervisor.afterwards(partial(options.env.unlink, missing_ok=True))
        say(f"{'Environment':<18} {options.env}")
    say(f"{'Logs':<18} {logs.path}")
    return variables


async def _start_servers(supervisor: Supervisor, options: DevOptions) -> dict[str, str]:
    """Start the servers, and return the environment through which a part finds them."""
    postgres = await supervisor.add(EmbeddedPostgres(options.state_of("postgres")))
    await asyncio.to_thread(migrate, postgres.url)
    temporal = await supervisor.add(
        EmbeddedTemporal(options.state_of("temporal"), port=options.port, ui_port=options.ui_port)
    )
    return os.environ | {
        "DATABASE_URL": postgres.app_url,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "TEMPORAL_UI_URL": temporal.ui_url,
        # A part writes to a file, where its `ready` text must arrive when it is printed, and not in the next buffer.
        "PYTHONUNBUFFERED": "1",
    }


def _master_key_in(folder: Path) -> str:
    """The key of the personal data that is kept beside it: fit for development, and for nothing else."""
    file = folder / "master-key"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(MasterKey.new())
    return file.read_text()


def _write_environment(file: Path, variables: Mapping[str, str]) -> None:
    """Write the variables that are not in the environment anyway to a file, for a POSIX shell."""
    own = {name: value for name, value in variables.items() if os.environ.get(name) != value}
    try:
        file.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in own.items()))
    except OSError as error:
        raise PartFailed("counteract dev", f"cannot write {file}: {error.strerror}", _OTHER_FILE) from error


def _free_ports(settings: DevSettings) -> dict[str, str]:
    return {f"{name.upper()}_PORT": str(free_port()) for name in settings.ports}
