"""What runs a command of an app: Faust's `Command` and `AppCommand`, and classes of the user's own.

Declarations; `cli` makes one for each call, with what the command line said.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, TextIO

import msgspec

from flowstream.processing.tables.showing import builtins

Decorator = Callable[[Any], Any]


@dataclass(slots=True)
class Said:
    """What the command line says before a command's name."""

    quiet: bool = False
    json: bool = False


class Command:
    """A command of an app; `self` of a function that is one. As a class of your own it has an
    `async def run(self, ...)`, and `options` as `flowstream.cli.option` and `argument` give them;
    without any, the parameters of `run` are its options. Its name is that of the class.

    Each class that is defined is a command, of every app of the process or (`app.command`) of one,
    unless it says `abstract = True`.
    """

    abstract: ClassVar[bool] = True
    options: ClassVar[Sequence[Decorator] | None] = None
    daemon: ClassVar[bool] = False
    """Never: a command is over when `run` is."""

    run: ClassVar[Callable[..., Any]]

    def __init__(self, app: Any, given: Mapping[str, Any], said: Said) -> None:
        self.app = app
        self.args: tuple[Any, ...] = ()
        self.kwargs = dict(given)
        self.quiet, self.json, self.debug = said.quiet, said.json, app.settings.debug
        self.stdout: TextIO = sys.stdout
        self.stderr: TextIO = sys.stderr

    async def on_stop(self) -> None:
        """Called once `run` has ended, also by an error."""

    @property
    def UsageError(self) -> type[Exception]:  # Faust's name
        """Raise it for words of the command line that make no sense."""
        error: type[Exception] = import_module("click").UsageError
        return error

    def say(self, message: object, file: TextIO | None = None, err: bool = False) -> None:
        """Print it, unless the command line says `--quiet`."""
        if not self.quiet:
            print(message, file=file or (self.stderr if err else self.stdout))

    def carp(self, message: object) -> None:
        """Print it where the command line says `--debug`."""
        if self.debug:
            self.say(f"#-- {message}")

    def dumps(self, value: Any) -> str:
        """A value as JSON."""
        return msgspec.json.encode(builtins(value), enc_hook=str).decode()

    def tabulate(
        self, data: Iterable[Sequence[Any]], headers: Sequence[str] | None = None, title: str = ""
    ) -> str:
        """Rows in columns, as text; as JSON where the command line says `--json`."""
        rows = [list(row) for row in data]
        if self.json:
            return self.dumps(
                rows if headers is None else [dict(zip(headers, row, strict=False)) for row in rows]
            )
        lines = [[str(cell) for cell in row] for row in ([headers] if headers else []) + rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=False)]
        shown = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([title, *shown] if title else shown)


class AppCommand(Command):
    """The same: each command has an app."""

    abstract: ClassVar[bool] = True


def declared_classes(of: type[Command] = Command) -> Iterator[type[Command]]:
    """The classes that are commands of every app."""
    for each in of.__subclasses__():
        if not vars(each).get("abstract", False):
            yield each
        yield from declared_classes(each)
