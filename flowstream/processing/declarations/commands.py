"""Commands of an app: functions that its command line offers beside our own verbs.

Pure declarations; `cli` runs them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from flowstream.processing.errors import AppError

GETS_APP = ("self", "app")
"""Names of a first parameter that gets the app."""
_LEGAL = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its name, the function, and which of its parameters gets the app."""

    name: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    help: str
    app_parameter: str | None

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """What the command line gives."""
        found = inspect.signature(self.function, eval_str=True).parameters.values()
        return [each for each in found if each.name != self.app_parameter]

    async def run(self, app: Any, given: dict[str, Any]) -> None:
        """Run it with the app, which is closed after."""
        mine = {} if self.app_parameter is None else {self.app_parameter: app}
        async with app:
            await self.function(**mine, **given)


def command_of(function: object, name: str | None, help: str | None) -> Command:
    """A command as it was declared; AppError when it cannot be one."""
    if not inspect.iscoroutinefunction(function):
        raise AppError(
            f"app.command stands above an `async def` function, not {function!r}: its options are"
            " the function's parameters, `async def fill(count: int = 10)`"
        )
    named = name or function.__name__.strip("_").replace("_", "-").lower()
    if not _LEGAL.fullmatch(named):
        raise AppError(f"{named!r} is no name of a command: use small letters, digits and '-'")
    parameters = list(inspect.signature(function).parameters)
    app_parameter = parameters[0] if parameters[:1] and parameters[0] in GETS_APP else None
    told = help or inspect.getdoc(function) or ""
    return Command(named, function, told, app_parameter)
