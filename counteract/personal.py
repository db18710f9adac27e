"""Personal data in events: stored encrypted for its subject, and gone once the subject's key is destroyed.

class CustomerRegistered(Event):
    customer_id: str
    email: Annotated[str | Forgotten, Personal("customer_id")]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Personal:
    """Marks a field of an event. Its type must allow `Forgotten`, so that no reader overlooks what may be missing."""

    subject: str
    """The field of the same event that holds the id of the person, itself no personal data."""


class Forgotten(BaseModel):
    """The value that is read in place of personal data whose subject was forgotten."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forgotten: Literal[True] = True

    def __str__(self) -> str:
        return "(forgotten)"


FORGOTTEN = Forgotten()
"""The value of a personal field whose subject was forgotten."""


def personal_fields(model: type[BaseModel]) -> Mapping[str, str]:
    """The marked fields, each with the field of its subject. Raises TypeError for marks that would not be kept."""
    marked = {name: mark for name, field in model.model_fields.items() for mark in _marks(field.metadata)}
    for name, mark in marked.items():
        if mark.subject not in model.model_fields or mark.subject in marked:
            raise TypeError(
                f"{model.__name__}.{name} is personal data of {mark.subject!r}, "
                "which must be another field, and not personal itself"
            )
        if Forgotten not in get_args(model.model_fields[name].annotation):
            raise TypeError(
                f"{model.__name__}.{name} is personal data: its type must allow Forgotten, as in str | Forgotten"
            )
    for name, field in model.model_fields.items():
        if inner := next(_marked_inside(field.annotation, set()), None):
            raise TypeError(
                f"{model.__name__}.{name} has the personal field {inner} inside: "
                "only fields of the event itself can be personal, mark the whole of it"
            )
    return {name: mark.subject for name, mark in marked.items()}


def unsealed_fields(annotation: Any) -> Iterator[str]:
    """The marked fields of a type that is not sealed, at any depth: of a class that is no event, or of any type."""
    return _marked_inside(annotation, set())


def _marks(metadata: list[Any]) -> Iterator[Personal]:
    return (each for each in metadata if isinstance(each, Personal))


def _marked_inside(annotation: Any, seen: set[Any]) -> Iterator[str]:
    if any(_marks(list(getattr(annotation, "__metadata__", ())))):
        yield str(annotation)
    for each in get_args(annotation):
        yield from _marked_inside(each, seen)
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)) or annotation in seen:
        return
    seen.add(annotation)
    for name, field in annotation.model_fields.items():
        if any(_marks(field.metadata)):
            yield f"{annotation.__name__}.{name}"
        yield from _marked_inside(field.annotation, seen)
