"""The supervisor, which starts parts one after the other, watches all of them, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from counteract.dev.errors import PartFailed

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Part(Protocol):
    """Something that runs beside us. Entered, it is up and usable, or PartFailed says why not; left, it is gone."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...

    def lines(self) -> list[tuple[str, str]]:
        """The lines that say what came up, and where to find it: pairs of a label and a text."""
        ...

    async def crashed(self) -> PartFailed:
        """Return when the part has ended by itself, with the error that says how. May be cancelled at any time."""
        ...


AnyPart = TypeVar("AnyPart", bound=Part)


class Supervisor:
    """`async with Supervisor() as supervisor:` and, inside, `add` for each part and then `wait`.

    Ctrl-C, SIGTERM, SIGHUP or the crash of a part break off whatever the block is doing. Once it has been left, however
    that came about, no part is running. An interruption leaves it silently; a crash raises PartFailed.
    """

    def __init__(self, say: Callable[[str], None] = print) -> None:
        self._say = say
        self._parts = contextlib.AsyncExitStack()
        self._watchers: list[asyncio.Task[None]] = []
        self._interrupted = False
        self._closing = False
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        self._block = asyncio.current_task()
        self._signals = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
        for number in self._signals:
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt)
        return self

    async def add(self, part: AnyPart) -> AnyPart:
        """Start a part, print a line for what came up, and watch it from now on."""
        await self._parts.enter_async_context(part)
        for label, text in part.lines():
            self._say(f"{label:<18} {text}")
        self._watchers.append(asyncio.create_task(self._watch(part)))
        return part

    def afterwards(self, clean_up: Callable[[], None]) -> None:
        """Do this when every part added from now on has stopped."""
        self._parts.callback(clean_up)

    async def wait(self) -> None:
        """Return never: the block is broken off when it is time."""
        await asyncio.get_running_loop().create_future()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        self._closing = True
        closing = asyncio.create_task(self._close())
        while not closing.done():
            # Impatience does not leave parts behind: further interruptions wait for the end.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(closing)
        closing.result()
        if self._interrupted and self._block:
            self._block.uncancel()
        if self._failure:
            # What the block ran into meanwhile is most likely a consequence.
            raise self._failure from (error if isinstance(error, Exception) else None)
        return self._interrupted and isinstance(error, asyncio.CancelledError)

    async def _watch(self, part: Part) -> None:
        try:
            failure: Exception = await part.crashed()
        except Exception as error:  # whatever it is, nobody watches that part any longer
            failure = error
        # The first one counts: parts that depend on it follow.
        self._failure = self._failure or failure
        self._interrupt()

    def _interrupt(self) -> None:
        if self._block and not self._closing and not self._interrupted:
            self._interrupted = True
            self._block.cancel()

    async def _close(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await self._parts.aclose()
        for number in self._signals:
            asyncio.get_running_loop().remove_signal_handler(number)
