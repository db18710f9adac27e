"""What a worker checks before it starts: one error that lists everything."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import Client

from counteract import Compensatable, Pivot, Retriable
from counteract.errors import ConfigurationError
from counteract.participants import (
    Happened,
    NeverHappened,
    Participants,
    Settle,
    Streams,
    Undo,
    compensates,
    handles,
    settles,
)
from counteract.store import PostgresEventStore

pytestmark = pytest.mark.unit

NO_STORE = cast("PostgresEventStore", None)


class Lend(Compensatable[None], service="library", compensation="TakeBack"):
    """Lend a book."""


class Sell(Pivot[None], service="library"):
    """Sell it."""


class Wrap(Retriable[None], service="wrapping"):
    """Wrap it."""


class Catalogue:
    """Something a handler needs."""


class PaperCatalogue(Catalogue):
    """One kind of it."""


@handles(Lend)
async def lend(command: Lend, streams: Streams, catalogue: Catalogue) -> None: ...


@compensates(Lend)
async def take_back(undo: Undo[Lend, None], streams: Streams) -> None: ...


@handles(Sell, effect="external")
async def sell(command: Sell) -> None: ...


@settles(Sell)
async def settle_sale(settle: Settle[Sell]) -> Happened[None] | NeverHappened:
    return NeverHappened()


@handles(Wrap)
async def wrap(command: Wrap, streams: Streams) -> None: ...


def problems(*sources: object, services: list[str] | None = None, resources: list[Any] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        Participants(NO_STORE, *sources, resources=resources or [PaperCatalogue()]).check(services)
    return list(refused.value.problems)


def test_a_complete_set_of_handlers_starts() -> None:
    everything = Participants(NO_STORE, lend, take_back, sell, settle_sale, wrap, resources=[PaperCatalogue()])

    assert everything.services == ["library", "wrapping"]
    assert [each.command for each in everything.check()] == [Lend, Sell, Wrap]
    assert [each.command for each in everything.check(["wrapping"])] == [Wrap]


def test_handlers_are_found_in_modules_once_each() -> None:
    module = ModuleType("some_handlers")
    vars(module).update(wrap=wrap, again=wrap, other=len)

    assert [each.command for each in Participants(NO_STORE, module, wrap).check()] == [Wrap]


def test_everything_that_is_wrong_is_listed_at_once() -> None:
    found = problems(take_back, sell, services=["library", "attic"])

    assert found == [
        "no handler belongs to a service 'attic': there are library",
        "Lend has no @handles(Lend) handler",
        "Sell is an external pivot and has no @settles(Sell) handler to ask whether it happened",
    ]


def test_a_compensatable_command_needs_its_compensation() -> None:
    assert "Lend has no @compensates(Lend) handler for its undo TakeBack" in problems(lend, sell, settle_sale)


def test_two_handlers_for_one_command_are_named() -> None:
    @handles(Wrap)
    async def wrap_too(command: Wrap) -> None: ...

    (problem,) = problems(wrap, wrap_too)

    assert problem.startswith("Wrap has more than one @handles handler: ")
    assert "wrap_too" in problem


def test_an_undo_of_what_cannot_be_undone_is_named() -> None:
    @compensates(Wrap)
    async def unwrap(undo: Undo[Any, None]) -> None: ...

    (problem,) = problems(wrap, unwrap)

    assert problem.startswith("Wrap is retriable and cannot be undone, yet has ")


def test_a_resource_that_nobody_gave_is_named() -> None:
    found = problems(lend, take_back, sell, settle_sale, resources=[object()])

    assert found == ["tests.unit.test_participants.lend asks for catalogue: Catalogue, which is not among resources="]


def test_a_handler_that_is_no_coroutine_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="it must be an async function"):

        @handles(Wrap)  # type: ignore[type-var]
        def wrap_at_once(command: Wrap) -> None: ...


def test_a_parameter_without_a_type_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="parameter 'paper' needs a type annotation"):

        @handles(Wrap)
        async def wrap_in(command: Wrap, paper) -> None: ...  # type: ignore[no-untyped-def]


def test_a_client_without_the_plugin_is_refused() -> None:
    """A saga's worker on such a client would fail each of its tasks, and say so only in its log."""
    client = cast("Client", SimpleNamespace(config=lambda: {"plugins": []}))

    with pytest.raises(ConfigurationError, match=r"lacks the plugin:\n  - connect it with .*CounteractPlugin"):
        Participants(NO_STORE, wrap).workers(client)


@pytest.mark.usefixtures("forgotten")
def test_two_commands_of_one_name_in_one_service_are_refused() -> None:
    class Theirs:
        class Bind(Pivot[None], service="bindery"):
            pass

    class Ours:
        class Bind(Pivot[None], service="bindery"):
            pass

    @handles(Theirs.Bind)
    async def bind(command: Any) -> None: ...

    @handles(Ours.Bind)
    async def bind_too(command: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="are both Bind of the service 'bindery': rename one"):
        Participants(NO_STORE, bind, bind_too).check()


def test_a_class_that_a_sandbox_made_anew_needs_no_handlers_of_its_own() -> None:
    def imported() -> type[Pivot[None]]:
        class Print(Pivot[None], service="printers"):
            pass

        return Print

    known, anew = imported(), imported()

    @handles(known)
    async def print_it(command: Any) -> None: ...

    (participant,) = Participants(NO_STORE, print_it).check()

    assert participant.command is known is not anew
