"""What the verbs about one app share: naming it, its broker, and a connection."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from flowstream.cli.discovery import find_app
from flowstream.cli.embedded import EmbeddedBroker, find_broker
from flowstream.cli.options import hush, refusing, tell
from flowstream.cli.worker import broker_of, embedded_directory
from flowstream.processing.app import App
from flowstream.processing.environment.securing import security_of
from flowstream.transport.cluster import Cluster
from flowstream.transport.silence import told_of_silence

Module = Annotated[
    str, typer.Option("--app", "-A", metavar="MODULE[:APP]", help="The module with the app.")
]
AppBroker = Annotated[
    str | None,
    typer.Option("--broker", help="kafka://HOST:PORT or embedded://DIR; else the app's setting."),
]
AppData = Annotated[
    Path | None,
    typer.Option("--data", "--datadir", help="Directory of the app's state; else its data_dir."),
]


def app_of(module: str, broker: str | None, data: Path | None) -> App:
    """The app, with the settings that the command line gives."""
    app = find_app(module)
    app.configure()
    set_place(app, broker, data)
    return app


def set_place(app: App, broker: str | None, data: Path | None) -> None:
    """Where the app is to go, if the command line says so."""
    if data is not None:
        app.settings = dataclasses.replace(app.settings, data_dir=str(data))
    if broker is not None:
        app.settings = dataclasses.replace(app.settings, broker=broker)


@contextmanager
def exiting() -> Iterator[None]:
    """As `refusing`, where no verb runs yet: exits the process."""
    try:
        with refusing():
            yield
    except typer.Exit as ended:
        raise SystemExit(ended.exit_code) from None


@asynccontextmanager
async def cluster_of(app: App) -> AsyncIterator[Cluster]:
    """A connection to the app's cluster. Its embedded broker, where nobody runs it, is started for
    this; EmbeddedBrokerError when none ever ran there: a mistaken directory gets no new one.
    """
    hush()
    directory = embedded_directory(app)
    if directory is not None:
        find_broker(directory)
    async with broker_of(app) as broker:
        address = broker.address if isinstance(broker, EmbeddedBroker) else broker
        security = security_of(app.settings)
        cluster = Cluster(address, client_id="flowstream-cli", security=security)
        with told_of_silence(address, tell):
            await cluster.connect()
        try:
            yield cluster
        finally:
            await cluster.close()
