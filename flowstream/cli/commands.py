"""`flowstream -A MODULE NAME ...`: a command that the app itself declares."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from flowstream.cli import worker_options as options
from flowstream.cli.apps import app_of, exiting, set_place
from flowstream.cli.before import value_of
from flowstream.cli.embedded import EmbeddedBroker
from flowstream.cli.options import perform
from flowstream.cli.tracebacks import without_our_frames
from flowstream.cli.worker import begin_in, broker_of
from flowstream.errors import FlowstreamError
from flowstream.processing.app import App
from flowstream.processing.declarations.command_classes import Said
from flowstream.processing.declarations.commands import Subcommand, commands_of
from flowstream.processing.environment.logs import Output, level_of
from flowstream.processing.errors import AppError

MEANT = (FlowstreamError, BrokenPipeError, click.ClickException, click.Abort, click.exceptions.Exit,
         typer.BadParameter, typer.Abort, typer.Exit)  # fmt: skip
"""What a command raises to say something by it: no traceback."""


def run(module: str, words: Sequence[str], program: str) -> None:
    """Run a command of the app in a module; exits the process. `program` is what stands before the
    words.
    """
    with exiting():
        go_to(value_of(words, "--workdir"))
        line = built(app_of(module, None, None))
    line(args=list(words), prog_name=program)


def go_to(workdir: str | None) -> None:
    """Go to a directory, in which the app is then looked for."""
    try:
        if workdir is not None:
            os.chdir(workdir)
    except OSError as error:
        raise AppError(f"--workdir {workdir}: {error.strerror or error}") from None


def built(app: App) -> typer.Typer:
    """The command line of an app's own commands."""
    found = typer.Typer(
        no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
        context_settings={"help_option_names": ["--help", "-h"]},
        help=f"Commands of the app {app.id!r}; `flowstream --help` lists those of every app.",
    )  # fmt: skip
    # With a callback it stays a group, also of a single command.
    said = Said()
    found.callback()(visiting(app, said))
    for command in commands_of(app.commands):
        if command.options:
            found.command(
                command.name, help=command.help, add_help_option=False,
                context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
            )(handing_on(click_command(app, command, said)))  # fmt: skip
        else:
            found.command(command.name, help=command.help)(callable_of(app, command, said))
    return found


def visiting(app: App, said: Said) -> Callable[..., None]:
    """Has the app's commands visit the broker that stands before their names, and do as is said
    there.
    """

    def visit(
        context: typer.Context,
        broker: Annotated[
            str | None,
            typer.Option(
                help="kafka://HOST:PORT or embedded://DIR; without it, the app's setting."
            ),
        ] = None,
        data: Annotated[
            Path | None,
            typer.Option("--data", "--datadir", help="Directory of the embedded broker."),
        ] = None,
        loglevel: Annotated[
            str | None,
            typer.Option("--loglevel", "-l", help="Log, from debug, info, warning or error on."),
        ] = None,
        logfile: options.LogFile = None,
        workdir: options.WorkDir = None,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="`say` says nothing.")] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Sets the setting.")] = False,
        json: Annotated[bool, typer.Option("--json", help="`tabulate` gives JSON.")] = False,
    ) -> None:
        del workdir  # see `run`
        said.quiet, said.json = quiet, json
        if loglevel is not None or logfile is not None:
            with exiting():
                level_of(loglevel or "info")
            context.call_on_close(begin_in(None, Output(loglevel or "info", logfile, quiet)).flush)
        if debug:
            app.conf.debug = True
        with exiting():
            set_place(app, broker, data)

    return visit


def click_command(app: App, command: Subcommand, said: Said) -> click.Command:
    """A command whose options are click's; AppError when its function cannot take them."""
    call = calling(app, command, said)
    for decorate in reversed(command.options):
        call = decorate(call)
    made = click.command(command.name, help=command.help)(call)
    command.check(each.name for each in made.params if each.name and each.expose_value)
    return made


def handing_on(command: click.Command) -> Callable[[typer.Context], None]:
    """Has click parse what stands behind the command's name."""

    def hand_on(context: typer.Context) -> None:
        command.main(args=context.args, prog_name=context.command_path)

    return hand_on


def callable_of(app: App, command: Subcommand, said: Said) -> Any:
    """The command as a plain function with its parameters, which connects the app and runs it."""
    call = calling(app, command, said)
    parameters = command.parameters
    call.__signature__ = inspect.Signature(parameters)
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


def calling(app: App, command: Subcommand, said: Said) -> Any:
    """A plain function that connects the app and runs the command with what it is given."""

    def call(**given: Any) -> None:
        failed: list[Exception] = []

        async def work() -> None:
            async with broker_of(app) as broker:
                app.connect_to(broker.address if isinstance(broker, EmbeddedBroker) else broker)
                try:
                    await command.run(app, given, said)
                except MEANT:
                    raise
                except Exception as error:  # noqa: BLE001 - the outermost line of user code
                    failed.append(error)

        try:
            perform(work, is_users=True)
        except click.ClickException as error:  # not typer's, which has its own
            error.show()
            raise SystemExit(error.exit_code) from None
        if failed:
            traceback.print_exception(without_our_frames(failed[0]))
            raise typer.Exit(1)

    return call
