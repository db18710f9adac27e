"""The supervisor with parts that do nothing but tell."""

import asyncio
import os
import signal
from typing import Self

import pytest

from counteract.dev import PartCrashed, PartFailed, Supervisor

pytestmark = pytest.mark.unit


class Told:
    """A part that writes down when it starts and stops, and crashes when `crash` is set."""

    def __init__(self, name: str, diary: list[str], *, refuses: bool = False) -> None:
        self.name = name
        self.diary = diary
        self.refuses = refuses
        self.crash = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_stop.set()

    async def __aenter__(self) -> Self:
        if self.refuses:
            raise PartFailed(self.name, "did not start: no luck")
        self.diary.append(f"{self.name} starts")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.may_stop.wait()
        self.diary.append(f"{self.name} stops")

    def lines(self) -> list[tuple[str, str]]:
        return [(self.name, "somewhere")]

    async def crashed(self) -> PartFailed:
        await self.crash.wait()
        return PartCrashed(self.name, 3, "last words")


@pytest.fixture
def diary() -> list[str]:
    return []


def interrupt(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


async def test_parts_stop_in_reverse_order(diary: list[str]) -> None:
    async with Supervisor(lambda _: None) as supervisor:
        await supervisor.add(Told("a", diary))
        await supervisor.add(Told("b", diary))
    assert diary == ["a starts", "b starts", "b stops", "a stops"]


async def test_each_part_is_announced_once_it_is_up(diary: list[str]) -> None:
    async with Supervisor(lambda line: diary.append(" ".join(line.split()))) as supervisor:
        await supervisor.add(Told("a", diary))
    assert diary == ["a starts", "a somewhere", "a stops"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_stops_everything_and_is_no_error(diary: list[str], number: signal.Signals) -> None:
    async with Supervisor(lambda _: None) as supervisor:
        await supervisor.add(Told("a", diary))
        interrupt(number)
        await supervisor.wait()
    assert diary == ["a starts", "a stops"]


async def test_a_signal_breaks_off_a_start(diary: list[str]) -> None:
    async with Supervisor(lambda _: None) as supervisor:
        await supervisor.add(Told("a", diary))
        interrupt()
        await asyncio.Event().wait()
        diary.append("not reached")
    assert diary == ["a starts", "a stops"]


async def test_impatience_does_not_leave_a_part_running(diary: list[str]) -> None:
    part = Told("a", diary)
    part.may_stop.clear()
    async with Supervisor(lambda _: None) as supervisor:
        await supervisor.add(part)
        asyncio.get_running_loop().call_later(0.01, interrupt)
        asyncio.get_running_loop().call_later(0.02, interrupt)
        asyncio.get_running_loop().call_later(0.03, part.may_stop.set)
        await supervisor.wait()
    assert diary == ["a starts", "a stops"]


async def test_the_crash_of_one_part_stops_all_and_says_which_and_how(diary: list[str]) -> None:
    part = Told("a", diary)

    async def supervise() -> None:
        async with Supervisor(lambda _: None) as supervisor:
            await supervisor.add(part)
            await supervisor.add(Told("b", diary))
            part.crash.set()
            await supervisor.wait()

    with pytest.raises(PartCrashed) as crash:
        await supervise()
    assert str(crash.value) == "a ended by itself: exit code 3.\n    last words"
    assert diary[2:] == ["b stops", "a stops"]


async def test_a_crash_is_told_rather_than_what_follows_from_it(diary: list[str]) -> None:
    part = Told("a", diary)

    async def supervise() -> None:
        async with Supervisor(lambda _: None) as supervisor:
            await supervisor.add(part)
            part.crash.set()
            try:
                await supervisor.wait()
            except asyncio.CancelledError as cancelled:
                raise ConnectionError("a does not answer") from cancelled

    with pytest.raises(PartCrashed):
        await supervise()


async def test_a_part_that_cannot_start_stops_those_before_it(diary: list[str]) -> None:
    async def supervise() -> None:
        async with Supervisor(lambda _: None) as supervisor:
            await supervisor.add(Told("a", diary))
            await supervisor.add(Told("b", diary, refuses=True))

    with pytest.raises(PartFailed, match=r"^b did not start: no luck\.$"):
        await supervise()
    assert diary == ["a starts", "a stops"]


async def test_a_task_can_be_cancelled_again_after_an_interruption(diary: list[str]) -> None:
    async with Supervisor(lambda _: None) as supervisor:
        await supervisor.add(Told("a", diary))
        interrupt()
        await supervisor.wait()
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0
