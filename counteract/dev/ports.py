"""Ports of this machine's loopback interface, the only one that anything embedded listens on."""

import errno
import socket

from counteract.dev.errors import PartFailed

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on now. Somebody may by the time it is used: be ready to take another."""
    return _bind(0)


def claim(part: str, port: int, option: str) -> int:
    """Return the port if it is free. Raises PartFailed naming the command line option that chooses another."""
    try:
        return _bind(port)
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = f"port {port} of {LOOPBACK} is taken" if taken else f"port {port} cannot be used ({error})"
        raise PartFailed(part, f"did not start: {why}", f"Choose another one with {option}") from error


def _bind(port: int) -> int:
    with socket.socket() as listener:
        # As the server itself does: connections of an earlier run that are still closing do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        chosen: int = listener.getsockname()[1]
        return chosen
