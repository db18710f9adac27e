"""Values that several contexts share."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Value(BaseModel):
    """A part of a command, an event or a request: immutable, strict about unknown fields.

    Its errors do not repeat what was sent: that may be personal, and errors end up in logs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


Identifier = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
ProductId = Identifier
SellerId = Identifier
CustomerId = Identifier
OrderId = Identifier

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line for people to read. PostgreSQL could not store a NUL character."""

Money = Annotated[int, Field(ge=0, le=10**12)]
"""Integer minor units (cents). Bounded, so that no total of an order leaves the range of a bigint."""
Price = Annotated[int, Field(ge=1, le=10**12)]
"""Money that is not nothing."""

_TOKEN = re.compile(r"tok_(?![\d_-]+$)[a-z0-9_-]{1,80}")


def _is_token(text: str) -> str:
    # The message does not repeat what was sent: it may be a card number, with or without the prefix.
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be a token of the payment provider (tok_…); card numbers are not accepted here")
    return text


def _is_no_card_number(text: str) -> str:
    if re.search(r"(\d[ -]?){12}", text):
        raise ValueError("looks like a card number; card numbers are not accepted here")
    return text


CardToken = Annotated[str, AfterValidator(_is_token)]
"""The payment provider's name for a card. Card numbers never enter the system."""

Holder = Annotated[Text, AfterValidator(_is_no_card_number)]
"""The name on a card."""
