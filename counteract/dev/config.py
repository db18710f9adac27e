"""`[tool.counteract.dev]` of a project's pyproject.toml: what `counteract dev` runs beside the servers.

[tool.counteract.dev]
ports = ["payment_provider"]            # a free port for PAYMENT_PROVIDER_PORT, which every part is told

[tool.counteract.dev.env]               # for every part; $NAME stands for any variable of its environment
PAYMENT_PROVIDER_URL = "http://127.0.0.1:$PAYMENT_PROVIDER_PORT"

[[tool.counteract.dev.parts]]           # started in this order
name = "Payment provider"
command = ["python", "-m", "payment_provider"]
ready = "$PAYMENT_PROVIDER_URL/health"  # an address that answers, or else a text that it prints

[[tool.counteract.dev.parts]]
name = "Worker"
command = ["python", "worker.py"]
ready = "worker is ready"
restart = true                          # started again when a signal killed it, up to 5 times a minute
"""

from __future__ import annotations

import tomllib
from string import Template
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from counteract.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SUBJECT = "[tool.counteract.dev] in pyproject.toml"


class PartSettings(BaseModel):
    """One of `[[tool.counteract.dev.parts]]`: a command, and when it counts as up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    command: Annotated[list[str], Field(min_length=1)]
    env: dict[str, str] = {}
    ready: str = ""
    restart: bool = False


class DevSettings(BaseModel):
    """The table `[tool.counteract.dev]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ports: list[str] = []
    env: dict[str, str] = {}
    parts: list[PartSettings] = []


def read_settings(project: Path) -> DevSettings:
    """Read the settings of a project; those of the servers alone where there is no file or no such table.

    Raises ConfigurationError naming everything that is wrong.
    """
    try:
        tables = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
        return DevSettings.model_validate(tables.get("tool", {}).get("counteract", {}).get("dev", {}))
    except FileNotFoundError:
        return DevSettings()
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(_SUBJECT, [str(error)]) from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ConfigurationError(_SUBJECT, problems) from error


def expand(text: str, variables: Mapping[str, str]) -> str:
    """The text with each `$NAME` replaced by the variable. Raises ConfigurationError for an unknown one."""
    try:
        return Template(text).substitute(variables)
    except (KeyError, ValueError) as error:
        raise ConfigurationError(_SUBJECT, [f"{text!r} names an unknown variable: {error}"]) from error


def with_settings(variables: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The variables, and those of the settings, each of which may name the ones before it."""
    known = dict(variables)
    for name, value in settings.items():
        known[name] = expand(value, known)
    return known
