"""Commands of an app: functions that its command line offers beside our own verbs.

Pure declarations; `cli` runs them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flowstream.processing.declarations.command_classes import (
    AppCommand,
    Command,
    Decorator,
    Said,
    declared_classes,
)
from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError

GETS_APP = ("self", "app")
"""Names of a first parameter that is not for the command line."""
CLICK = "click"
"""The package whose decorators `flowstream.cli.option` and `argument` give."""
OF_AN_APP = "__flowstream_of_an_app__"
"""Says of a class that `app.command` stands above it."""
_LEGAL = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One command: its name, the function, and which of its parameters gets the app or, named
    otherwise, an instance of `base`.

    Its `options` are click's decorators; without any, the parameters are its options.
    """

    name: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    help: str
    app_parameter: str | None
    options: tuple[Decorator, ...] = ()
    base: type[Command] = AppCommand

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """What the command line gives; nothing to `*args` and `**kwargs`."""
        found = inspect.signature(self.function, eval_str=True).parameters.values()
        open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return [
            each
            for each in found
            if each.name != self.app_parameter and each.kind not in open_ended
        ]

    async def run(self, app: Any, given: Mapping[str, Any], said: Said | None = None) -> None:
        """Run it with the app, which is closed after."""
        invoked = self.base(app, given, said or Said())
        async with app:
            try:
                await self.function(*self.first(invoked), **given)
            finally:
                await invoked.on_stop()

    def first(self, invoked: Any) -> tuple[Any, ...]:
        """What the function gets before what the command line gives."""
        if self.app_parameter is None:
            return ()
        return (invoked.app if self.app_parameter == "app" else invoked,)

    def check(self, names: Iterable[str]) -> None:
        """AppError when the function cannot be called with options of these names."""
        try:
            inspect.signature(self.function).bind(
                *(() if self.app_parameter is None else (None,)), **dict.fromkeys(names)
            )
        except TypeError as error:
            raise AppError(
                f"command {self.name!r} is called with what its options give ({error}): each"
                " option(...) or argument(...) has a parameter of its name"
            ) from None


def given_to(given: tuple[Any, ...]) -> tuple[Any, tuple[Decorator, ...]]:
    """What stands in the brackets of `app.command`: a function, or options."""
    others = [each for each in given if not is_option(each)]
    if not others:
        return None, given
    if len(given) == 1:
        return others[0], ()
    raise AppError(
        f"app.command takes options, as flowstream.cli.option and argument give them, not"
        f" {described(others[0])}"
    )


def is_option(given: object) -> bool:
    """Whether this is a decorator of click's."""
    return str(getattr(given, "__module__", "")).partition(".")[0] == CLICK


def command_of(
    declared: object, name: object, help: str | None, options: tuple[Decorator, ...] = ()
) -> Subcommand:
    """A command as it was declared, by a function or a class; AppError when it cannot be one."""
    if inspect.isclass(declared) and issubclass(declared, Command):
        return command_of_class(declared, name, help, options)
    if not inspect.iscoroutinefunction(declared):
        raise AppError(
            f"app.command stands above an `async def` function, not {declared!r}: its options are"
            " the function's parameters, `async def fill(count: int = 10)`"
        )
    parameters = list(inspect.signature(declared).parameters)
    app_parameter = parameters[0] if parameters[:1] and parameters[0] in GETS_APP else None
    told = help or inspect.getdoc(declared) or ""
    return Subcommand(name_of(declared, name), declared, told, app_parameter, options)


def command_of_class(
    base: type[Command], name: object, help: str | None, options: tuple[Decorator, ...] = ()
) -> Subcommand:
    """A command that is a class."""
    run: Any = getattr(base, "run", None)
    if not inspect.iscoroutinefunction(run) or not inspect.signature(run).parameters:
        raise AppError(
            f"command {base.__name__!r} has no `async def run(self, ...)`: its parameters are what"
            " the command line gives"
        )
    if base.daemon:
        raise AppError(
            f"command {base.__name__!r} says daemon = True: a command is over when `run` is; what"
            " stays is an app.task or a service of a worker"
        )
    if options and base.options:
        raise AppError(f"command {base.__name__!r} has options: leave those of app.command out")
    told = help or inspect.cleandoc(vars(base).get("__doc__") or "")
    first = next(iter(inspect.signature(run).parameters))
    return Subcommand(
        name_of(base, name), run, told, first, options or tuple(base.options or ()), base
    )


def name_of(declared: Any, name: object) -> str:
    """A command's name. AppError when it cannot be one."""
    named = name or declared.__name__.strip("_").replace("_", "-").lower()
    if not isinstance(named, str) or not _LEGAL.fullmatch(named):
        raise AppError(f"{named!r} is no name of a command: use small letters, digits and '-'")
    return named


def commands_of(declared: Mapping[str, Subcommand]) -> list[Subcommand]:
    """All commands of an app: what it declares, and the classes that are of every app. AppError
    when two have one name.
    """
    own = {command.base for command in declared.values()}
    found = dict(declared)
    for each in declared_classes():
        if each in own or vars(each).get(OF_AN_APP):
            continue
        command = command_of_class(each, None, None)
        if command.name in found:
            raise AppError(f"command {command.name!r} is declared twice: once by {each!r}")
        found[command.name] = command
    return list(found.values())
