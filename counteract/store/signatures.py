"""Signatures of what the database keeps for us, so that nobody who can only write to it makes us believe something else."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest, digest


class Signature:
    """By a secret that the database never sees. The first one signs, and what any of them has signed is ours."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = secrets

    def of(self, *parts: str | int) -> bytes:
        return digest(self._secrets[0], _joined(parts), sha256)

    def is_ours(self, signed: bytes, *parts: str | int) -> bool:
        content = _joined(parts)
        return any(compare_digest(signed, digest(secret, content, sha256)) for secret in self._secrets)


def _joined(parts: Sequence[str | int]) -> bytes:
    # With their lengths: no end of one can pass for the beginning of the next.
    encoded = [str(part).encode() for part in parts]
    return b"".join(b"%d:%b" % (len(each), each) for each in encoded)
