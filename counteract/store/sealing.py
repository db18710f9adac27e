"""AES-256-GCM, with keys for persons and a master key for the keys."""

from __future__ import annotations

import os
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest
from typing import Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from counteract.errors import ConfigurationError, PersonalDataLocked
from counteract.store.signing import Signature

MASTER_KEY_VARIABLE = "COUNTERACT_MASTER_KEY"

_KEY_BYTES, _NONCE_BYTES = 32, 12
# Base64 has two alphabets, and programs that make keys print either.
_USUAL = str.maketrans("-_", "+/")


class SubjectKey:
    """One person's key."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(secret)
        self._nonces = digest(secret, b"nonces", sha256)

    def seal(self, content: bytes, context: bytes, event_id: UUID) -> bytes:
        """Nonce and ciphertext, bound to `context`.

        The same every time, for an append that is repeated must be known as the same: the nonce is drawn from the event's
        id and from what is sealed, so that none is ever used for two contents.
        """
        nonce = digest(self._nonces, event_id.bytes + context + b"\0" + content, sha256)[:_NONCE_BYTES]
        return nonce + self._cipher.encrypt(nonce, content, context)

    def open(self, box: bytes, context: bytes) -> bytes:
        """Raises cryptography's InvalidTag."""
        return self._cipher.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], context)


class MasterKey:
    """Seals the keys of persons. The first secret seals; all of them open, so that a new one can be put before."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(secret) for secret in secrets]
        self.signature = Signature([digest(secret, b"snapshots", sha256) for secret in secrets])

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `MasterKey.new()`, or several of them with commas between, the newest first. Raises ConfigurationError."""
        try:
            secrets = [b64decode(each.strip().translate(_USUAL), validate=True) for each in text.split(",")]
            if any(len(secret) != _KEY_BYTES for secret in secrets):
                raise ValueError
        except ValueError:
            problem = (
                "write 32 bytes in base64, as `counteract personal new-key` prints them; several with commas between"
            )
            raise ConfigurationError(f"{MASTER_KEY_VARIABLE} cannot be read", [problem]) from None
        return cls(secrets)

    @classmethod
    def from_environment(cls) -> Self | None:
        """COUNTERACT_MASTER_KEY, if it is set. Raises ConfigurationError."""
        text = os.environ.get(MASTER_KEY_VARIABLE)
        return cls.parse(text) if text else None

    @staticmethod
    def new() -> str:
        """A fresh random one, as text."""
        return urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()

    def new_key(self, key_id: UUID) -> bytes:
        """A fresh key for a person, wrapped."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, os.urandom(_KEY_BYTES), key_id.bytes)

    def unwrap(self, key_id: UUID, wrapped: bytes) -> SubjectKey:
        """Raises PersonalDataLocked."""
        for cipher in self._ciphers:
            try:
                return SubjectKey(cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], key_id.bytes))
            except InvalidTag:
                continue
        raise PersonalDataLocked(
            f"personal data was sealed under another {MASTER_KEY_VARIABLE}: put that one behind this"
        )
