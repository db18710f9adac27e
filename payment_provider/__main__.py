"""`python -m payment_provider --port N`."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from aiohttp import web

from payment_provider.accounts import Accounts
from payment_provider.server import Moods, Provider


async def serve(options: argparse.Namespace) -> None:
    moods = Moods(options.latency, options.fault_rate, options.decline_rate)
    runner = web.AppRunner(Provider(Accounts(options.state), moods).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.port, shutdown_timeout=1).start()
    print(f"ready on port {options.port}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("payment_provider", description="A payment provider for development.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, metavar="FILE", help="remember everything across restarts")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="mean time before it acts")
    parser.add_argument("--fault-rate", type=float, default=0.0, metavar="SHARE", help="of requests answered with 503")
    parser.add_argument("--decline-rate", type=float, default=0.0, metavar="SHARE", help="of cards declined")
    return parser


if __name__ == "__main__":
    asyncio.run(serve(parser().parse_args()))
