"""The file of an archive is complete, or there is none; what was done to it since is noticed."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from counteract.errors import InvalidArchive
from counteract.store.archive.file import archived_streams, check_archive, new_archive

pytestmark = pytest.mark.unit


def line(name: str, version: int) -> str:
    return json.dumps({"aggregate_type": "counter", "aggregate_id": name, "version": version})


LINES = [line("a", 1), line("a", 2), line("bß", 1)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "old.jsonl.gz"
    with new_archive(path) as archive:
        archive.add(LINES)
    return path


def rewrite(path: Path, before: bytes, after: bytes) -> None:
    """As who knows gzip does."""
    text = gzip.decompress(path.read_bytes())
    assert before in text
    path.write_bytes(gzip.compress(text.replace(before, after)))


def test_streams_come_back_one_after_another(file: Path) -> None:
    check_archive(file)
    found = [(str(stream), [each.decode() for each in lines]) for stream, lines in archived_streams(file)]
    assert found == [("counter/a", LINES[:2]), ("counter/bß", LINES[2:])]


def test_nothing_but_the_file_is_left_in_its_folder(file: Path) -> None:
    assert list(file.parent.iterdir()) == [file]


def test_writing_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        yield from LINES
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), new_archive(tmp_path / "old") as archive:
        archive.add(lines())
    assert list(tmp_path.iterdir()) == []


def test_until_it_is_complete_it_has_another_name(tmp_path: Path) -> None:
    with new_archive(tmp_path / "old") as archive:
        archive.add(LINES)
        assert [each.name for each in tmp_path.iterdir()] == ["old.part"]


def test_it_is_on_the_disk_before_it_has_its_name_and_so_is_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, [each.name for each in tmp_path.iterdir()]))

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "old"
    with new_archive(path) as archive:
        archive.add(LINES)
    assert synced == [(path.stat().st_ino, ["old.part"]), (tmp_path.stat().st_ino, ["old"])]


def test_what_a_crash_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "old.part").write_text("half")
    with new_archive(tmp_path / "old") as archive:
        archive.add(LINES)
    check_archive(tmp_path / "old")


def test_a_file_that_exists_is_not_written_over(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(InvalidArchive, match="exists: give the archive another name"), new_archive(file):
        pass
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'"version": 1', b'"version": 7'), (f"{LINES[1]}\n".encode(), b""), (b'"events":3', b'"events":2')],
)
def test_a_change_is_noticed(file: Path, before: bytes, after: bytes) -> None:
    rewrite(file, before, after)
    with pytest.raises(InvalidArchive, match="was changed since it was written"):
        check_archive(file)


@pytest.mark.parametrize("kept", range(1, 150, 15))
def test_a_file_that_was_cut_short_is_noticed(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InvalidArchive, match="cannot be unpacked"):
        check_archive(file)


def test_a_file_without_its_seal_is_no_archive(file: Path) -> None:
    file.write_bytes(gzip.compress("\n".join(LINES).encode()))
    with pytest.raises(InvalidArchive, match="does not end as an archive does"):
        check_archive(file)


def test_an_empty_file_is_no_archive(file: Path) -> None:
    file.write_bytes(b"")
    with pytest.raises(InvalidArchive, match="does not end as an archive does"):
        check_archive(file)


def test_a_file_that_is_no_gzip_is_no_archive(file: Path) -> None:
    file.write_text("\n".join(LINES))
    with pytest.raises(InvalidArchive, match="cannot be unpacked"):
        check_archive(file)


def test_a_file_that_is_missing_is_named_without_its_folder(file: Path) -> None:
    file.unlink()
    with pytest.raises(InvalidArchive, match=r"^old\.jsonl\.gz is not there$"):
        check_archive(file)


def test_a_newer_format_is_left_to_newer_code(file: Path) -> None:
    rewrite(file, b'"archive":1', b'"archive":2')
    with pytest.raises(InvalidArchive, match="format 2: a newer version of Counteract reads it"):
        check_archive(file)
