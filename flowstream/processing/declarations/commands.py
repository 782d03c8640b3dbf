"""Commands of an app: functions that its command line offers beside our own verbs.

Pure declarations; `cli` runs them.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError

GETS_APP = ("self", "app")
"""Names of a first parameter that is not for the command line."""
CLICK = "click"
"""The package whose decorators `flowstream.cli.option` and `argument` give."""
_LEGAL = re.compile(r"[a-z][a-z0-9-]*")


Decorator = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a command's `self` is, as in Faust: its app, and a way to tell something."""

    app: Any

    def say(self, message: object) -> None:
        """Print it."""
        sys.stdout.write(f"{message}\n")


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its name, the function, and which of its parameters gets the app.

    Its `options` are click's decorators; without any, the parameters are its options.
    """

    name: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    help: str
    app_parameter: str | None
    options: tuple[Decorator, ...] = ()

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """What the command line gives."""
        found = inspect.signature(self.function, eval_str=True).parameters.values()
        return [each for each in found if each.name != self.app_parameter]

    async def run(self, app: Any, given: dict[str, Any]) -> None:
        """Run it with the app, which is closed after."""
        async with app:
            await self.function(*self.first(app), **given)

    def first(self, app: Any) -> tuple[Any, ...]:
        """What the function gets before what the command line gives."""
        if self.app_parameter is None:
            return ()
        return (Invocation(app) if self.app_parameter == "self" else app,)

    def check(self, names: Iterable[str]) -> None:
        """AppError when the function cannot be called with options of these names."""
        try:
            inspect.signature(self.function).bind(*self.first(None), **dict.fromkeys(names))
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
    function: object, name: object, help: str | None, options: tuple[Decorator, ...] = ()
) -> Command:
    """A command as it was declared; AppError when it cannot be one."""
    if not inspect.iscoroutinefunction(function):
        raise AppError(
            f"app.command stands above an `async def` function, not {function!r}: its options are"
            " the function's parameters, `async def fill(count: int = 10)`"
        )
    named = name or function.__name__.strip("_").replace("_", "-").lower()
    if not isinstance(named, str) or not _LEGAL.fullmatch(named):
        raise AppError(f"{named!r} is no name of a command: use small letters, digits and '-'")
    parameters = list(inspect.signature(function).parameters)
    app_parameter = parameters[0] if parameters[:1] and parameters[0] in GETS_APP else None
    told = help or inspect.getdoc(function) or ""
    return Command(named, function, told, app_parameter, options)
