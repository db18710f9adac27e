"""Values that several contexts share."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, NonNegativeInt, PositiveInt, StringConstraints

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
ProductId = Identifier
SellerId = Identifier
CustomerId = Identifier
OrderId = Identifier

Money = NonNegativeInt
"""Integer minor units (cents)."""
Price = PositiveInt
"""Money that is not nothing."""

_TOKEN = re.compile(r"tok_[a-z0-9_-]{1,80}")


def _is_token(text: str) -> str:
    # The message does not repeat what was sent: it may be a card number.
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be a token of the payment provider (tok_…); card numbers are not accepted here")
    return text


CardToken = Annotated[str, AfterValidator(_is_token)]
"""The payment provider's name for a card. Card numbers never enter the system."""
