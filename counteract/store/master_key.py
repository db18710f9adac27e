"""Keys of subjects and the master key that wraps them: AES-256-GCM."""

from __future__ import annotations

import os
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest
from pathlib import Path
from typing import Protocol, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from counteract.errors import ConfigurationError, PersonalDataLocked
from counteract.store.signatures import Signature

MASTER_KEY_VARIABLE = "COUNTERACT_MASTER_KEY"
"""The environment variable that holds the master key, where the store is given none."""
MASTER_KEY_FILE_VARIABLE = "COUNTERACT_MASTER_KEY_FILE"
"""The environment variable that names a file with the master key."""

_KEY_BYTES, _NONCE_BYTES = 32, 12
# Base64 has two alphabets, and programs that make keys print either.
_USUAL = str.maketrans("-_", "+/")


class KeyWrapper(Protocol):
    """Wraps the keys of subjects, so that the database never sees one: a `MasterKey`, or a key management service.

    A wrapped key can be unwrapped for ever, or until its master key is destroyed on purpose. `context` is no secret;
    with another context nothing is unwrapped. A service that does not answer raises OSError or StoreUnavailable, and is
    asked again.
    """

    @property
    def name(self) -> str:
        """The name of the master key that wraps from now on; another key has another name. It is stored, so it must be
        no secret.
        """
        ...

    async def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Wrap `secret` under the master key that `name` names."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Unwrap with the key that wrapped it. Raises PersonalDataLocked where none at hand did."""
        ...


class SubjectKey:
    """The key of one subject."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(secret)
        self._nonces = digest(secret, b"nonces", sha256)

    @staticmethod
    def new() -> bytes:
        """A fresh random secret for a subject's key."""
        return os.urandom(_KEY_BYTES)

    def seal(self, content: bytes, context: bytes, event_id: UUID) -> bytes:
        """Nonce and ciphertext, bound to `context`.

        The same content in the same event gives the same bytes, for the repeat of an append must be known as such. The
        nonce follows from the event's id and the content, so none serves two contents.
        """
        nonce = digest(self._nonces, event_id.bytes + context + b"\0" + content, sha256)[:_NONCE_BYTES]
        return nonce + self._cipher.encrypt(nonce, content, context)

    def open(self, box: bytes, context: bytes) -> bytes:
        """The content of a box. Raises cryptography's InvalidTag."""
        return self._cipher.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], context)


class MasterKey:
    """A `KeyWrapper` of secrets in memory. The first secret wraps, every one unwraps: a new one is put first."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(secret) for secret in secrets]
        self.signature = Signature([digest(secret, b"snapshots", sha256) for secret in secrets])
        self._name = f"master-{digest(secrets[0], b'name', sha256).hex()[:12]}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key as `MasterKey.new()` prints it, or several with commas or line ends between, the newest first.

        Raises ConfigurationError.
        """
        try:
            parts = ",".join(text.strip().splitlines()).split(",")
            secrets = [b64decode(each.strip().translate(_USUAL), validate=True) for each in parts]
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
        """The key from COUNTERACT_MASTER_KEY, or from the file that COUNTERACT_MASTER_KEY_FILE names. None where
        neither is set.

        Raises ConfigurationError.
        """
        text, file = os.environ.get(MASTER_KEY_VARIABLE), os.environ.get(MASTER_KEY_FILE_VARIABLE)
        if text and file:
            problem = f"{MASTER_KEY_FILE_VARIABLE} is set as well: unset one of them"
            raise ConfigurationError(f"{MASTER_KEY_VARIABLE} is set", [problem])
        if file:
            text = _content_of(Path(file))
        return cls.parse(text) if text else None

    @staticmethod
    def new() -> str:
        """A fresh random key, as text."""
        return urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()

    @property
    def name(self) -> str:
        """The name of the first secret: derived from it, reveals nothing of it, and is stored beside what it wraps."""
        return self._name

    async def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Wrap `secret` under the first secret; `unwrap` needs the same `context`."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, secret, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Unwrap with any of the secrets. Raises PersonalDataLocked where none fits."""
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
            except InvalidTag:
                continue
        raise PersonalDataLocked(
            f"personal data was sealed under another {MASTER_KEY_VARIABLE}: put that one behind this"
        )


def _content_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"{MASTER_KEY_FILE_VARIABLE} cannot be read", [f"{file}: {why}"]) from None
