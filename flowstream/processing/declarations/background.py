"""What a worker does beside its agents: the app's tasks and timers.

Shell. They belong to no unit: what they send is sent at once. `crontabs` and `timers` are the ones
that survive a worker.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from flowstream.processing.errors import AppError, AppExited

LEADER_POLL_S = 0.05
Function = Callable[..., Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Chore:
    """A function that each worker runs: once, or every `interval` seconds."""

    function: Function
    interval: float | None = None
    on_leader: bool = False
    """Only in the worker that has partition 0."""


def takes_app(function: Function, what: str) -> bool:
    """Whether a function wants the app; AppError when it cannot be called."""
    if not inspect.iscoroutinefunction(function):
        raise AppError(f"{what} must be an `async def` function without arguments, or with the app")
    wanted = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(wanted) > 1:
        raise AppError(f"{what} takes {len(wanted)} arguments: it gets none, or the app")
    return len(wanted) == 1


def called(function: Function, app: object) -> Coroutine[Any, Any, Any]:
    """The function's coroutine, with the app when it wants it."""
    return function(app) if takes_app(function, "it") else function()


async def run_chore(chore: Chore, app: object, is_leader: Callable[[], bool]) -> None:
    """Run a chore for as long as its worker lives. Its error is the worker's."""
    try:
        await _run(chore, app, is_leader)
    except SystemExit as asked:
        name = getattr(chore.function, "__qualname__", repr(chore.function))
        raise AppExited(f"{name} of the app", asked) from None


async def _run(chore: Chore, app: object, is_leader: Callable[[], bool]) -> None:
    if chore.interval is None:
        while chore.on_leader and not is_leader():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LEADER_POLL_S)
        await called(chore.function, app)
        return
    clock = asyncio.get_running_loop().time
    due = clock()
    while True:
        # As in Faust: the pauses do not drift, and a run that takes too long delays the next.
        due = max(due + chore.interval, clock())
        await asyncio.sleep(due - clock())
        if not chore.on_leader or is_leader():
            await called(chore.function, app)
