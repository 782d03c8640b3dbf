"""The verbs of the `flowstream` command, put together from one module each.

A verb's module is imported when the verb is asked for, or when all of them are listed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Annotated

import typer

from flowstream.cli.before import behind_options
from flowstream.cli.taught import with_options
from flowstream.processing.errors import AppError

if TYPE_CHECKING:
    from flowstream.processing.app import App

VERBS = (
    "worker", "broker", "topics", "groups", "users", "acls", "send", "tail", "configs", "quotas",
    "transactions", "producers", "tables", "reset", "logdirs", "cluster", "dump", "doctor", "dlq",
    "outbox", "agents", "models", "model", "clean-versions", "workers", "lag",
    "completion",
)  # fmt: skip
"""The module `flowstream.cli.<verb>` has either `app`, verbs of its own, or `command`; and `parser`
when that parses its options itself.
"""

PROGRAM = "flowstream"
MODULE_OPTION = ("-A", "--app")


def run(arguments: Sequence[str], *, script: str | None = None) -> None:
    """Run the verb that the command line names; exits the process. `script` is how the command line
    of an app begins that has its own.
    """
    words = app_first(list(arguments))
    # `flowstream -A module worker`: the option may stand before its verb, or before a command that
    # the app itself declares.
    if words[:1] and words[0] in MODULE_OPTION and len(words) > 1:
        verb = verb_in(words)
        if verb is None:
            from flowstream.cli import commands

            commands.run(words[1], words[2:], script or f"{PROGRAM} -A {words[1]}")
            return
        line = build((words[verb],))
        said = with_app(line, words[verb:], words[2:verb], words[1])
        line(args=said, prog_name=script or PROGRAM)
    asked = words[0] if words and words[0] in VERBS else None
    build((asked,) if asked else VERBS)(args=words, prog_name=PROGRAM)


def with_app(
    line: typer.Typer, words: Sequence[str], before: Sequence[str], module: str
) -> list[str]:
    """The words of a verb with the app where it takes it, as `-A MODULE`, and with the options that
    stood before it; a verb about a cluster visits the app's, by its settings.
    """
    command, at = typer.main.get_command(line), 0
    while at < len(words) and (found := getattr(command, "commands", {}).get(words[at])):
        command, at = found, at + 1
    options = {option for parameter in command.params for option in parameter.opts}
    app = ["-A", module] if "--app" in options else []
    if not app and {"--broker", "--data"} <= options and "--help" not in words:
        visit_as(module)
    return [*words[:at], *app, *before, *words[at:]]


def visit_as(module: str) -> None:
    """Visit clusters as the app in a module does; exits when there is no such app."""
    from flowstream.cli.apps import app_of, exiting
    from flowstream.cli.options import APP_SETTINGS

    with exiting():
        APP_SETTINGS.set(app_of(module, None, None).settings)


def run_script(app: App) -> None:
    """The command line of a script that calls `app.main()`: what stands behind its name, else
    `worker`, for that app; exits the process.
    """
    script = sys.modules["__main__"]
    name = next((name for name, value in vars(script).items() if value is app), None)
    if name is None:
        raise AppError(
            f"app.main() finds no name of app {app.id!r} in the script: assign it there, or run"
            " `flowstream worker -A MODULE:NAME`"
        )
    words = ["-A", f"__main__:{name}", *(sys.argv[1:] or ["worker"])]
    run(words, script=f"python {sys.argv[0]}")


def app_first(words: list[str]) -> list[str]:
    """The words with `-A MODULE` before the options that stand before it, as Faust's users write
    them: `--debug -A shop worker`, `--app=shop worker`.
    """
    names = [word.partition("=")[0] for word in words]
    at = next((at for at, name in enumerate(names) if name in (*MODULE_OPTION, *VERBS)), 0)
    if not words or words[at] in VERBS or not words[0].startswith("-"):
        return words
    words = [*words[:at], *words[at].split("=", 1), *words[at + 1 :]]
    return [*words[at : at + 2], *words[:at], *words[at + 2 :]]


def verb_in(words: Sequence[str]) -> int | None:
    """Where one of our verbs stands behind `-A MODULE`; None when a command of the app does."""
    at = behind_options(words, 2)
    if at is not None:
        return at if at < len(words) and words[at] in VERBS else None
    return next((at for at in range(2, len(words)) if words[at] in VERBS), None)


def build(verbs: Sequence[str]) -> typer.Typer:
    """The command line with these verbs."""
    # Plain tracebacks: what is told to people is printed by the verbs, the rest is for a log.
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
        callback=flowstream,
    )
    for verb in verbs:
        module = import_module(f"flowstream.cli.{verb.replace('-', '_')}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=verb)
        elif hasattr(module, "parser"):
            app.command(verb)(with_options(module.parser(), module.command))
        else:
            app.command(verb)(module.command)
    return app


def tell_version(asked: bool) -> None:
    """Print what is installed, and end."""
    if asked:
        typer.echo(f"{PROGRAM} {metadata.version(PROGRAM)}")
        raise typer.Exit


def flowstream(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=tell_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Exactly-once stream processing for Python, with the broker included."""
