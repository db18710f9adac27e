"""The application's own Temporal client, which `[tool.counteract] client` of pyproject.toml names.

    client = "shop.temporal:connect"

    async def connect(**config: Any) -> Client:
        return await Client.connect(**config, data_converter=ENCRYPTED, plugins=[CounteractPlugin()])

It is called with what `Client.connect` takes: `target_host` and `namespace` always; `api_key`, `tls` and `rpc_metadata`
where Temporal's own environment configuration sets them; and `lazy=True` where no server will be asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from counteract.cli.application import named_object, wrong
from counteract.errors import ConfigurationError, CounteractError

if TYPE_CHECKING:
    from temporalio.client import Client

_SETTING = "client"
_CANNOT_CONNECT = "Failed client connect"
"""How the SDK begins the RuntimeError for it, which has no type of its own."""


class TemporalUnreachable(CounteractError):
    """The Temporal server does not answer: start it, or correct the address."""


@dataclass(frozen=True, slots=True)
class OwnClient:
    """The function that pyproject.toml names; whatever is wrong with it is a ConfigurationError that says so."""

    name: str
    function: Callable[..., Awaitable[object]]

    async def connect(self, config: Mapping[str, Any]) -> Client:
        """Call the function. Raises TemporalUnreachable, and ConfigurationError."""
        from temporalio.client import Client
        from temporalio.service import RPCError

        try:
            inspect.signature(self.function).bind(**config)
        except TypeError as error:
            raise self._wrong(
                f"cannot be called ({error}): let it take what Client.connect does, as **config"
            ) from None
        try:
            made = await self.function(**config)
        except Exception as error:
            if isinstance(error, RPCError) or str(error).startswith(_CANNOT_CONNECT):
                raise unreachable(config, by=f" to {self.name}") from error
            raise self._wrong(f"raised {type(error).__name__}: {error}: correct it, or what it reads") from error
        if not isinstance(made, Client):
            raise self._wrong(f"returned {_described(made)}: let it return what Client.connect does")
        self._check(made, is_lazy=bool(config.get("lazy")))
        return made

    def _check(self, client: Client, *, is_lazy: bool) -> None:
        from counteract.plugin import CounteractPlugin

        if not any(isinstance(each, CounteractPlugin) for each in client.config()["plugins"]):
            raise self._wrong("returned a client without the engine: connect it with plugins=[CounteractPlugin()]")
        if client.service_client.config.lazy and not is_lazy:
            raise self._wrong("returned a client that is not connected: set lazy only where it is in **config")

    def _wrong(self, what: str) -> ConfigurationError:
        return wrong(_SETTING, self.name, f"{self.name} {what}")


def own_client() -> OwnClient | None:
    """The client function that pyproject.toml names; None where it names none. Raises ConfigurationError."""
    named = named_object(_SETTING, "function")
    if named is None:
        return None
    name, found = named
    if not inspect.iscoroutinefunction(found):
        raise wrong(_SETTING, name, f"{name} is no async function: define it with `async def`")
    return OwnClient(name, found)


def unreachable(config: Mapping[str, Any], *, by: str = "") -> TemporalUnreachable:
    """The error for a server that does not answer; `by` says whose call got no answer."""
    return TemporalUnreachable(
        f"no Temporal server answers{by} at {config['target_host']}: give --address or set TEMPORAL_ADDRESS"
    )


def _described(made: object) -> str:
    return "None" if made is None else f"a {type(made).__name__}"
