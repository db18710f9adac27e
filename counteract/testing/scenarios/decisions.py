"""Examples of decisions: given these events, when this is decided, then those events follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from counteract.decider import Decider
from counteract.errors import Rejected
from counteract.messages import Event
from counteract.testing.scenarios.failures import explained, told

S = TypeVar("S")
E = TypeVar("E", bound=Event)
P = ParamSpec("P")


class Deciding(Generic[S, E]):
    """An aggregate as the given events leave it: `state`, on which `when` decides."""

    def __init__(self, decider: Decider[S, E], events: Iterable[E]) -> None:
        self._decider = decider
        self._given = list(events)
        _refuse_undeclared(decider, self._given, "given")
        self.state = decider.fold(self._given)

    def when(
        self, decision: Callable[Concatenate[S, P], Iterable[E]], *args: P.args, **kwargs: P.kwargs
    ) -> Decision[S, E]:
        """Call a decision with the state and these arguments.

        A refusal (`Rejected`) is kept for `then_rejected`; other errors are raised. Raises AssertionError for an event
        that the decider does not declare.
        """
        __tracebackhide__ = True
        call = _call(decision, args, kwargs)
        try:
            events = list(decision(self.state, *args, **kwargs))
        except Rejected as refusal:
            return Decision(self._decider, self._given, call, (), refusal)
        _refuse_undeclared(self._decider, events, "decided")
        return Decision(self._decider, self._given, call, events, None)


class Decision(Deciding[S, E]):
    """The `events` or the `refusal` of a decision, and the aggregate after it, on which `when` decides once more.

    Each `then` raises AssertionError, with the whole example and the difference, where it does not hold.
    """

    def __init__(
        self, decider: Decider[S, E], given: Sequence[E], call: str, events: Sequence[E], refusal: Rejected | None
    ) -> None:
        super().__init__(decider, [*given, *events])
        self._before = given
        self._call = call
        self.events = events
        self.refusal = refusal

    def then(self, *expected: E | type[E]) -> Self:
        """Check that these events follow, and no others, in this order; a class stands for any event of that class."""
        __tracebackhide__ = True
        if self.refusal is not None:
            raise AssertionError(
                explained("It was refused, and events were expected", self._story(), expected, [self._refused()])
            )
        if not _are_alike(expected, self.events):
            raise AssertionError(explained("Other events follow", self._story(), *_aligned(expected, self.events)))
        return self

    def then_nothing(self) -> Self:
        """Check that the decision is not refused, and that no event follows."""
        __tracebackhide__ = True
        return self.then()

    def then_rejected(self, reason: str | None = None, **data: Any) -> Self:
        """Check that it is refused: for this reason, if one is given, and with these facts, perhaps among others."""
        __tracebackhide__ = True
        if self.refusal is None:
            raise AssertionError(
                explained(
                    "It was not refused", self._story(), [_refusal(reason, data)], self.events or ["(nothing happens)"]
                )
            )
        known = {name: self.refusal.data[name] for name in data if name in self.refusal.data}
        if reason not in (None, self.refusal.reason) or known != data:
            said = _refusal(self.refusal.reason if reason is not None else None, known)
            raise AssertionError(explained("It was refused otherwise", self._story(), [_refusal(reason, data)], [said]))
        return self

    def then_state(self, expected: S) -> Self:
        """Check that the aggregate's state is this afterwards."""
        __tracebackhide__ = True
        if self.state != expected:
            raise AssertionError(explained("The state is another", self._story(), [expected], [self.state]))
        return self

    def _story(self) -> dict[str, Iterable[Any]]:
        return {"given": self._before, "when": [self._call]}

    def _refused(self) -> str:
        return f"Rejected: {self.refusal}"


def _call(decision: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    given = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    return f"{getattr(decision, '__name__', repr(decision))}({', '.join(given)})"


def _refusal(reason: str | None, data: dict[str, Any]) -> str:
    facts = ", ".join(f"{name}={value!r}" for name, value in data.items())
    return "Rejected: " + (reason or "(any reason)") + (f" ({facts})" if facts else "")


def _are_alike(expected: Sequence[Any], actual: Sequence[Any]) -> bool:
    return len(expected) == len(actual) and all(map(_is_alike, expected, actual))


def _is_alike(expected: Any, actual: Any) -> bool:
    return isinstance(actual, expected) if isinstance(expected, type) else bool(expected == actual)


def _aligned(expected: Sequence[Any], actual: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Both sides, with the event itself where its class was expected: there is no difference to show."""
    pairs = [theirs if _is_alike(ours, theirs) else ours for ours, theirs in zip(expected, actual, strict=False)]
    return [*pairs, *expected[len(pairs) :]], actual


def _refuse_undeclared(decider: Decider[Any, Any], events: Sequence[Any], role: str) -> None:
    declared = tuple(decider.event_classes)
    if others := [each for each in events if type(each) not in declared]:
        names = ", ".join(each.__name__ for each in declared)
        what = f"{role}: not an event of {decider.aggregate_type!r}, which could not load its stream any more ({names})"
        raise AssertionError(told(what, {"namely": others}))
