"""The base of everything that is sent or stored: immutable, strict, and checked where it is declared."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from counteract.errors import InvalidDeclaration
from counteract.schemas import unreadable, write_sets_in_order


class Message(BaseModel):
    """Immutable, strict about unknown fields, and without NaN: what is sent is what is stored.

    Fields with an alias are read by it and by their own name.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True
    )

    _declared: ClassVar[bool]

    @classmethod
    def __pydantic_on_complete__(cls) -> None:
        super().__pydantic_on_complete__()
        write_sets_in_order(cls)
        if "_declared" in cls.__dict__:
            # It named types that were not yet known when it was declared.
            _refuse(cls, unreadable(cls.__pydantic_core_schema__))

    @classmethod
    def _declare(cls, problems: list[str]) -> None:
        """Raises InvalidDeclaration, which lists these problems and those of its fields."""
        cls._declared = True
        _refuse(cls, problems + (unreadable(cls.__pydantic_core_schema__) if cls.__pydantic_complete__ else []))


def _refuse(cls: type[Message], problems: list[str]) -> None:
    if problems:
        raise InvalidDeclaration(f"{cls.__qualname__} is declared wrongly", problems)
