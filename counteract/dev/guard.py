"""Run a command that must not outlive whoever started it: `python -I guard.py [options] -- COMMAND…`.

The command is ended when the guard's standard input reaches its end, which the kernel sees to when the starter dies,
`kill -9` included, or when the guard gets SIGTERM, SIGINT or SIGHUP: first the stop signal, then, after the grace
period, SIGKILL for the command's whole process group. SIGUSR1 means SIGKILL at once. Killed itself, the guard takes
the command along on Linux.

The command has a session of its own, so that Ctrl-C in a terminal reaches the starter only, and writes to the guard's
standard error. The guard's standard output is one line: `pid N`, or `error …` when the command could not be started.
The guard ends as the command ended, with the same exit code or by the same signal.

Standard library only, and single-threaded: it runs by its path, in milliseconds, for as long as the command does.
"""

import argparse
import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_PR_SET_PDEATHSIG = 1


class _Guard:
    """The command, and what is to be done until it has ended."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._stop_signal = signal.Signals[options.stop_signal]
        self._grace = options.grace
        self._remove = options.remove
        self._received: set[int] = set()
        self._wake, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (*_ENDING, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, lambda number, _frame: self._received.add(number))
        self._command = _start(options)

    @property
    def pid(self) -> int:
        """The number of the command's process."""
        return self._command.pid

    def run(self) -> int:
        """Return the command's exit code once it has ended, or was ended; negative for a signal, as in `subprocess`."""
        orphaned = self._wait_for_end()
        if not self._has_ended():
            self._end()
        # Before it is reaped its pid cannot be taken by another process, so this can only meet its own stragglers.
        _kill_group(self.pid)
        code = self._command.wait()
        if orphaned and self._remove:
            shutil.rmtree(self._remove, ignore_errors=True)
        return code

    def _wait_for_end(self) -> bool:
        """Return when the command ended or shall end, and say whether that is because the starter died."""
        while not self._has_ended() and not self._received & {*_ENDING, signal.SIGUSR1}:
            if sys.stdin.fileno() in self._sleep(None, sys.stdin.fileno()) and not os.read(sys.stdin.fileno(), 1024):
                return True
        return False

    def _end(self) -> None:
        if signal.SIGUSR1 not in self._received:
            self._command.send_signal(self._stop_signal)
        deadline = time.monotonic() + self._grace
        while not self._has_ended() and signal.SIGUSR1 not in self._received:
            if (left := deadline - time.monotonic()) <= 0:
                break
            self._sleep(left)

    def _has_ended(self) -> bool:
        # WNOWAIT leaves it a zombie: its pid stays its own until run() has cleared its group.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _sleep(self, seconds: float | None, *more: int) -> list[int]:
        ready: list[int] = select.select([self._wake, *more], [], [], seconds)[0]
        if self._wake in ready:
            os.read(self._wake, 1024)
        return ready


def _start(options: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """Start the command in a session of its own; on Linux it dies with the guard."""
    guard = os.getpid()

    def die_with_the_guard() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it died before the line above took hold
            os._exit(1)

    return subprocess.Popen(
        options.command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        start_new_session=True,
        user=options.user,
        group=options.user,
        extra_groups=None if options.user is None else [],
        preexec_fn=die_with_the_guard if sys.platform == "linux" else None,  # noqa: PLW1509  (one thread only)
    )


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses a group of zombies
        os.killpg(leader, signal.SIGKILL)


def _report(line: str) -> None:
    """Tell the starter, and close the pipe, so that a starter that reads to the end goes on."""
    with contextlib.suppress(BrokenPipeError):  # it is gone already: standard input will tell
        os.write(sys.stdout.fileno(), line.encode() + b"\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def _leave_like(code: int) -> None:
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def main() -> None:
    """Run the command that the arguments name, and end as it has ended."""
    parser = argparse.ArgumentParser(description="Run a command that must not outlive whoever started it.")
    parser.add_argument("--stop-signal", default="SIGTERM", help="what asks the command to stop")
    parser.add_argument("--grace", type=float, default=10, help="seconds from the stop signal to SIGKILL")
    parser.add_argument("--user", type=int, help="run the command as this user and group id (needs root)")
    parser.add_argument("--remove", help="folder to remove if the starter dies; its own clean-up never ran then")
    parser.add_argument("command", nargs="+")
    try:
        guard = _Guard(parser.parse_args())
    except OSError as error:
        _report(f"error {error.strerror}")
        sys.exit(127)
    _report(f"pid {guard.pid}")
    _leave_like(guard.run())


if __name__ == "__main__":
    main()
