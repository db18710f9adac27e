"""`counteract dev`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dev(
    state: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep everything in this folder; by default nothing is kept.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the Temporal server; by default a free one.")] = None,
    ui_port: Annotated[int | None, typer.Option(help="Port of the Temporal Web UI; by default a free one.")] = None,
    env: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write here how to reach it all, while it is up. In another shell: `. ./FILE`."
        ),
    ] = None,
) -> None:
    """Run PostgreSQL, Temporal with its Web UI, and this project's own parts, until Ctrl-C."""
    import asyncio

    from counteract.dev.runtime import DevOptions, run

    asyncio.run(run(DevOptions(project=Path.cwd(), state=state, port=port, ui_port=ui_port, env=env)))
