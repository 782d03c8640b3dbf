"""The options of `flowstream worker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[
    str | None, typer.Argument(metavar="MODULE[:APP]", help="The module with the app.")
]
Module = Annotated[
    str | None, typer.Option("--app", "-A", metavar="MODULE[:APP]", help="The same.")
]
Broker = Annotated[
    str | None,
    typer.Option(help="kafka://HOST:PORT or embedded://DIR; without it, the app's setting."),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", "--datadir", help="Directory for state and the embedded broker."),
]
WebPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Serve health and metrics here; 0: any.")
]
WebHost = Annotated[
    str | None, typer.Option("--web-host", "--web-bind", help="Address to serve them at.")
]
WithWeb = Annotated[
    bool | None,
    typer.Option(
        "--with-web/--without-web",
        help="Serve them, at port 6066 unless another one is said; or not at all.",
    ),
]
WebOpen = Annotated[
    bool, typer.Option("--web-open", help="Let other machines visit without a token.")
]
LogLevel = Annotated[str, typer.Option("--loglevel", "-l", help="debug, info, warning or error.")]
LogFile = Annotated[
    Path | None,
    typer.Option("--logfile", "-f", help="Write log lines to this file."),
]
WorkDir = Annotated[Path | None, typer.Option("--workdir", help="Go to this directory first.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Log to a file or not at all, and say nothing.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Run the event loop in asyncio's debug mode.")]
BlockingTimeout = Annotated[
    float | None,
    typer.Option(min=0.001, help="Seconds of silence after which an agent is named in the log."),
]
