"""`flowstream -A MODULE NAME ...`: a command that the app itself declares."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import typer

from flowstream.cli.apps import app_of
from flowstream.cli.embedded import EmbeddedBroker
from flowstream.cli.options import perform
from flowstream.cli.worker import broker_of
from flowstream.errors import FlowstreamError
from flowstream.processing.app import App
from flowstream.processing.declarations.commands import Command


def run(module: str, words: Sequence[str]) -> None:
    """Run a command of the app in a module; exits the process."""
    try:
        app = app_of(module, None, None)
    except FlowstreamError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    built(app)(args=list(words), prog_name=f"flowstream -A {module}")


def built(app: App) -> typer.Typer:
    """The command line of an app's own commands."""
    found = typer.Typer(
        no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
        help=f"Commands of the app {app.id!r}; `flowstream --help` lists those of every app.",
    )  # fmt: skip
    # With a callback it stays a group, also of a single command.
    found.callback()(lambda: None)
    for command in app.commands.values():
        found.command(command.name, help=command.help)(callable_of(app, command))
    return found


def callable_of(app: App, command: Command) -> Any:
    """The command as a plain function with its parameters, which connects the app and runs it."""

    def call(**given: Any) -> None:
        async def work() -> None:
            async with broker_of(app) as broker:
                app.connect_to(broker.address if isinstance(broker, EmbeddedBroker) else broker)
                await command.run(app, given)

        perform(work)

    parameters = command.parameters
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call
