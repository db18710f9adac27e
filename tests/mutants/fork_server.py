"""Forks one process per mutant off another that has imported everything: to import takes longer than most mutants do.

The fork changes the code of the functions that it already has. A change outside of any function takes a process that
imports the changed file.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import CodeType, FunctionType

Codes = Mapping[tuple[str, int], CodeType]


class Unswappable(Exception):
    """The change is not within functions that stand at the file's beginning."""


class Forks:
    """The process that others are forked off, and the connection to each of those."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self._process = process
        self._address = address

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Forks]:
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", __name__),
                stdin=asyncio.subprocess.PIPE,
                env={**os.environ, "RUST_LOG": "error"},
            )
            try:
                yield cls(process, folder)
            finally:
                # It ends with its input, and its forks with it.
                assert process.stdin is not None
                process.stdin.close()
                await process.wait()

    async def said(self, number: int, job: Mapping[str, object], errors: Path, seconds: float) -> str | None:
        """The output of the fork for this job; None where it takes longer than it may, and is killed."""
        address = f"{self._address}/{number}"
        over = asyncio.get_running_loop().create_future()

        async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            pid = int(await reader.readline())
            try:
                over.set_result((await asyncio.wait_for(reader.read(), seconds)).decode())
            except TimeoutError:
                os.kill(pid, 9)
                over.set_result(None)
            writer.close()

        server = await asyncio.start_unix_server(answered, address)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"address": address, "errors": str(errors), "job": job}).encode() + b"\n")
        async with server:
            answer: str | None = await over
        return answer


def swap(path: Path, changed: str) -> None:
    """Have all functions of this file do what the changed text says. Raises Unswappable."""
    before, after = (
        _codes(compile(text, str(path), "exec", dont_inherit=True))
        for text in (path.read_text(encoding="utf-8"), changed)
    )
    outermost = {key for key, code in before.items() if "<locals>" not in code.co_qualname}
    differing = {key for key in before if key not in after or not _are_alike(before[key], after[key])}
    if before.keys() != after.keys() or any(not before[key].co_flags & 0x02 for key in differing):
        raise Unswappable
    functions = [each for each in gc.get_objects() if isinstance(each, FunctionType) and _is_of(each, path)]
    for function in functions:
        key = function.__code__.co_qualname, function.__code__.co_firstlineno
        if key in outermost:
            function.__code__ = after[key]


def _codes(code: CodeType) -> Codes:
    return {(each.co_qualname, each.co_firstlineno): each for each in _all_codes(code)}


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _all_codes(each)


def _are_alike(one: CodeType, other: CodeType) -> bool:
    return _own(one) == _own(other)


def _own(code: CodeType) -> object:
    constants = [each for each in code.co_consts if not isinstance(each, CodeType)]
    return code.co_code, code.co_names, code.co_varnames, repr(constants)


def _is_of(function: FunctionType, path: Path) -> bool:
    return function.__code__.co_filename == str(path)


def serve(run: Callable[[Mapping[str, object]], str]) -> None:
    """Fork for each line of standard input, until it ends; no fork outlives this process."""
    forks: set[int] = set()
    try:
        for line in sys.stdin:
            if (fork := os.fork()) == 0:
                forks.clear()
                _answer(json.loads(line), run)
            forks.add(fork)
            forks -= _ended()
    finally:
        for fork in forks - _ended():
            os.kill(fork, signal.SIGKILL)


def _ended() -> set[int]:
    """The children of this process that have ended since the last call."""
    found: set[int] = set()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.add(pid)


def _answer(asked: Mapping[str, object], run: Callable[[Mapping[str, object]], str]) -> None:
    """Answer in the fork. It never returns, since processes that use the SDK can abort at interpreter exit."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(asked["address"]))
    connection.sendall(f"{os.getpid()}\n".encode())
    errors = os.open(str(asked["errors"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    connection.sendall(run(asked["job"]).encode())  # type: ignore[arg-type]
    os._exit(0)


if __name__ == "__main__":
    from tests.mutants.trial import run_job

    serve(run_job)
