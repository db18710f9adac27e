"""Real servers for every level above unit."""

import os
import signal

from counteract.store.master_key import MASTER_KEY_VARIABLE, MasterKey

pytest_plugins = [
    "counteract.dev.fixtures",
    "tests.file_order",
    "tests.market",
    "tests.small_disk",
    "tests.travel.world",
]


def pytest_configure() -> None:
    # Under nohup, and in the background of a script, these are ignored, and by every process that the tests start too.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # For the marketplace's addresses, in whatever process.
    os.environ.setdefault(MASTER_KEY_VARIABLE, MasterKey.new())
