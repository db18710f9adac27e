"""Keys of rows, each in one spelling.

The operations of a batch on a row are put together by its key, as Python compares keys. The database compares the
values in the columns: `"0190…"` and `UUID("0190…")` are one row to it. So a key is brought to the types of its columns
first, and is refused where that would lose something. docs/decisions/0119
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from functools import partial
from math import isnan
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import (
    CHAR,
    REAL,
    Boolean,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Table,
    Time,
    Uuid,
)
from sqlalchemy.dialects.postgresql import INTERVAL as POSTGRES_INTERVAL
from sqlalchemy.types import TypeEngine

V = TypeVar("V")

_EXACT = Context(prec=200_000)
"""More digits than a numeric has, so that nothing is rounded."""
_WHOLE = re.compile(r"[+-]?[0-9]+")
_SINGLE_DIGITS = 24
"""The most binary digits of a float that PostgreSQL keeps as a real."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The values of one key column."""

    wanted: str
    """The type in words, for the error of another value."""
    spell: Callable[[Any], Any]
    """Gives the one spelling of a value. Raises ValueError, TypeError or ArithmeticError where it would not say the
    same.
    """
    plain: type | None = None
    """A type whose values, but not those of its subclasses, are spelled as they should be."""


class Keys:
    """The keys of one table."""

    def __init__(self, table: Table) -> None:
        self.names: Sequence[str] = [column.name for column in table.primary_key.columns]
        self._kinds = [_kind_of(column.type) for column in table.primary_key.columns]
        plain = [kind and kind.plain for kind in self._kinds]
        # Values of a type that is not known here are taken as they are.
        self._plain = plain if all(kind is None or kind.plain for kind in self._kinds) else None

    def are_spelled(self, key: Any) -> bool:
        """Whether this key is spelled as it should be, and so is every key with parts of the same types."""
        if self._plain is None or (len(self.names) > 1 and type(key) is not tuple):
            return False
        parts = key if len(self.names) > 1 else (key,)
        return len(parts) == len(self._plain) and all(
            type(part) is plain if plain else not isinstance(part, tuple)
            for part, plain in zip(parts, self._plain, strict=True)
        )

    def spelled(self, key: Any) -> Any:
        """The key as it should be: a value, or a tuple where there are several columns. Needs a key
        without `misfits`.
        """
        parts = parts_of(key)
        if len(self.names) == 1:
            return _spelled(self._kinds[0], parts[0])
        return tuple(_spelled(kind, part) for kind, part in zip(self._kinds, parts, strict=True))

    def misfits(self, key: Any) -> Sequence[str]:
        """The problems with a key that does not fit the columns."""
        parts = parts_of(key)
        if len(parts) != len(self.names):
            return [f"needs a key of {', '.join(self.names)}"]
        return [
            f"the key column {name!r} takes {kind.wanted}, and not {part!r}: convert it in the handler"
            for name, kind, part in zip(self.names, self._kinds, parts, strict=True)
            if kind and not _can_be_spelled(kind, part)
        ]


def parts_of(key: Any) -> tuple[Any, ...]:
    """The parts of a key, as a tuple."""
    return key if isinstance(key, tuple) else (key,)


def _spelled(kind: Kind | None, part: Any) -> Any:
    return kind.spell(part) if kind else part


def _can_be_spelled(kind: Kind, part: Any) -> bool:
    try:
        kind.spell(part)
    except (ValueError, TypeError, ArithmeticError):
        return False
    return True


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(_only(str, value))


def _text(value: Any) -> str:
    if isinstance(value, str):
        # A member of an enum, or another subclass, counts as its text.
        return str.__str__(value)
    if isinstance(value, UUID) or type(value) in (int, date):
        return str(value)
    raise TypeError


def _padded(value: Any) -> str:
    return _text(value).rstrip(" ")


def _whole(value: Any) -> int:
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError
    return _unchanged(int(value), value)


def _truth(value: Any) -> bool:
    return _unchanged(bool(value), _only(int, value))


def _decimal(places: int | None, value: Any) -> Decimal:
    given = Decimal(str(value) if isinstance(value, float) else value)
    if not given.is_finite():
        raise ValueError
    if places is None:
        # Without an exponent, so that equal keys are equal as text, too.
        return _EXACT.add(Decimal(format(given.normalize(_EXACT), "f")), Decimal(0))
    return _unchanged(_EXACT.add(given.quantize(Decimal(1).scaleb(-places), context=_EXACT), Decimal(0)), given)


def _float(is_single: bool, value: Any) -> float:
    number = float(value)
    if isnan(number):
        raise ValueError
    if isinstance(value, int):
        _unchanged(int(number), value)
    # A zero has no sign.
    return (struct.unpack("f", struct.pack("f", number))[0] if is_single else number) + 0.0


def _date(value: Any) -> date:
    if isinstance(value, datetime):
        raise TypeError
    return date.fromisoformat(value) if isinstance(value, str) else _only(date, value)


def _moment(has_zone: bool, places: int | None, value: Any) -> datetime:
    """The time, in UTC. One without a zone is taken for UTC, the zone of our connections."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        moment = datetime.combine(_only(date, moment), time())
    if places is not None and moment.microsecond % 10 ** (6 - places):
        raise ValueError
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment if has_zone else moment.replace(tzinfo=None)


def _bytes(value: Any) -> bytes:
    return bytes(_only((bytes, bytearray, memoryview), value))


def _only(types: Any, value: Any) -> Any:
    if not isinstance(value, types):
        raise TypeError
    return value


def _unchanged(value: V, given: Any) -> V:
    if not isinstance(given, str) and value != given:
        raise ValueError
    return value


def _choice(choice: Enum) -> Kind:
    if choice.enum_class is None:
        return Kind("a str", _text, str)
    members = [each for name, each in choice.enum_class.__members__.items() if each.name == name]
    by_text = dict(zip(choice.enums, members, strict=False))
    wanted = choice.enum_class

    def spell(value: Any) -> Any:
        return value if isinstance(value, wanted) else by_text[_known(by_text, value)]

    return Kind(f"a {wanted.__name__}", spell, wanted)


def _known(by_text: Mapping[str, Any], value: Any) -> str:
    if not isinstance(value, str) or value not in by_text:
        raise ValueError
    return value


def _kind_of_uuid(uuid: Uuid[Any]) -> Kind:
    return Kind("a UUID", _uuid, UUID) if uuid.as_uuid else Kind("a UUID", lambda value: str(_uuid(value)))


def _kind_of_numeric(numeric: Numeric[Any]) -> Kind:
    places = 0 if numeric.scale is None and numeric.precision is not None else numeric.scale
    wanted = "a Decimal" if places is None else f"a Decimal with at most {places} decimals"
    return Kind(wanted, partial(_decimal, places))


def _kind_of_float(number: Float[Any]) -> Kind:
    is_single = isinstance(number, REAL) or (number.precision or _SINGLE_DIGITS + 1) <= _SINGLE_DIGITS
    return Kind("a float", partial(_float, is_single))


def _kind_of_moment(moment: DateTime) -> Kind:
    places = getattr(moment, "precision", None)
    wanted = "a datetime" if places is None else f"a datetime with at most {places} decimals of a second"
    return Kind(wanted, partial(_moment, moment.timezone, places))


def _kind_of_time(moment: Time) -> Kind | None:
    return None if moment.timezone else Kind("a time", partial(_only, time), time)


# The first that fits: some of the types are subclasses of others.
_KINDS: Sequence[tuple[type[TypeEngine[Any]], Callable[[Any], Kind | None]]] = [
    (Uuid, _kind_of_uuid),
    (Enum, _choice),
    (CHAR, lambda _: Kind("a str", _padded)),
    (String, lambda _: Kind("a str", _text, str)),
    (Integer, lambda _: Kind("an int", _whole, int)),
    (Boolean, lambda _: Kind("a bool", _truth, bool)),
    (Float, _kind_of_float),
    (Numeric, _kind_of_numeric),
    (DateTime, _kind_of_moment),
    (Date, lambda _: Kind("a date", _date, date)),
    (Time, _kind_of_time),
    (Interval, lambda _: Kind("a timedelta", partial(_only, timedelta), timedelta)),
    (POSTGRES_INTERVAL, lambda _: Kind("a timedelta", partial(_only, timedelta), timedelta)),
    (LargeBinary, lambda _: Kind("a bytes", _bytes, bytes)),
]


def _kind_of(column: TypeEngine[Any]) -> Kind | None:
    return next((kind_of(column) for type_, kind_of in _KINDS if isinstance(column, type_)), None)
