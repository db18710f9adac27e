"""The file of an archive: the lines of its events (`event_line`), stream by stream, then a seal over all of them. Gzip.

A file that has its name is complete and on the disk: until then it ends with `.part`.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import groupby
from pathlib import Path

import msgspec

from counteract.errors import InvalidArchive
from counteract.messages import StreamId

_FORMAT = 1


class _Seal(msgspec.Struct, forbid_unknown_fields=True):
    """The last line of a file."""

    archive: int
    events: int
    sha256: str


class _Place(msgspec.Struct):
    """The parts of a line that tell which stream it belongs to."""

    aggregate_type: str
    aggregate_id: str


_encode = msgspec.json.Encoder().encode
_seal_of = msgspec.json.Decoder(_Seal).decode
_place_of = msgspec.json.Decoder(_Place).decode


class Digest:
    """The digest of a stream's lines in order, as the SQL function `stream_digest` makes it."""

    def __init__(self) -> None:
        self._hash = sha256()
        self.events = 0

    def add(self, line: bytes) -> None:
        """Take in the next line, without its end."""
        self._hash.update(sha256(line).digest())
        self.events += 1

    @property
    def value(self) -> bytes:
        """The digest of the lines so far."""
        return self._hash.digest()


class NewArchive:
    """A file that is being written."""

    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed = packed
        self._hash = sha256()
        self.events = 0

    def add(self, lines: Iterable[str]) -> None:
        """Write events of one stream, or more of them, in the order of their versions."""
        for line in lines:
            encoded = f"{line}\n".encode()
            self._hash.update(encoded)
            self._packed.write(encoded)
            self.events += 1

    def seal(self) -> None:
        """Write the last line."""
        self._packed.write(_encode(_Seal(_FORMAT, self.events, self._hash.hexdigest())))


@contextmanager
def new_archive(path: Path) -> Iterator[NewArchive]:
    """Write a file: it has its name and is on the disk when the block ends, and is not there when the block fails.

    Raises InvalidArchive for a name that is taken.
    """
    if path.exists():
        raise InvalidArchive(f"{path.name} exists: give the archive another name, or go on with it: --continue")
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as raw:
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb") as packed:
                archive = NewArchive(packed)
                yield archive
                archive.seal()
            raw.flush()
            os.fsync(raw.fileno())
        part.rename(path)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def check_archive(path: Path) -> None:
    """Read the whole file and compare it with its seal. Raises InvalidArchive."""
    contents, events, last = sha256(), 0, b""
    for line, is_last in _lines(path):
        if is_last:
            last = line
        else:
            contents.update(line)
            events += 1
    try:
        seal = _seal_of(last)
    except ValueError:
        raise InvalidArchive(
            f"{path.name} does not end as an archive does: it was cut short, or is something else"
        ) from None
    if seal.archive != _FORMAT:
        raise InvalidArchive(f"{path.name} has format {seal.archive}: a newer version of Counteract reads it")
    if seal != _Seal(_FORMAT, events, contents.hexdigest()):
        raise InvalidArchive(f"{path.name} was changed since it was written: take a copy that was not")


def archived_streams(path: Path) -> Iterator[tuple[StreamId, Iterator[bytes]]]:
    """Each stream of a checked file with its lines, which must be taken before the next stream is asked for."""
    lines = (line.rstrip(b"\n") for line, is_last in _lines(path) if not is_last)
    return groupby(lines, key=_stream_of)


def _stream_of(line: bytes) -> StreamId:
    place = _place_of(line)
    return StreamId(place.aggregate_type, place.aggregate_id)


def _lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Each line, and whether it is the last one."""
    try:
        with gzip.open(path, "rb") as packed:
            line = packed.readline()
            while line:
                following = packed.readline()
                yield line, not following
                line = following
    except FileNotFoundError:
        raise InvalidArchive(f"{path.name} is not there") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidArchive(f"{path.name} cannot be unpacked: {error}") from None


def _sync_folder(folder: Path) -> None:
    """Put a new name on the disk, where it is only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
