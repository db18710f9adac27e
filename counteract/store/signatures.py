"""Signatures of what the database keeps, so that a process which can only write to the database cannot forge it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest, digest


class Signature:
    """Signs with a secret that the database never sees. The first secret signs; those of any of them are accepted."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = secrets

    def of(self, *parts: str | int) -> bytes:
        """The signature of these parts, taken together and in this order."""
        return digest(self._secrets[0], _joined(parts), sha256)

    def is_ours(self, signed: bytes, *parts: str | int) -> bool:
        """Whether one of the secrets has signed these parts."""
        content = _joined(parts)
        return any(compare_digest(signed, digest(secret, content, sha256)) for secret in self._secrets)


def _joined(parts: Sequence[str | int]) -> bytes:
    # Each part has its length before it: no end of one can pass for the beginning of the next.
    encoded = [str(part).encode() for part in parts]
    return b"".join(b"%d:%b" % (len(each), each) for each in encoded)
