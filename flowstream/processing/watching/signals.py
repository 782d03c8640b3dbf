"""Signals: functions of the user's that are called when something happens to the app.

A handler gets the app and what the signal is about; `signal=` only when it takes it. Knows no
worker: whoever makes it happen sends the signal.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from flowstream.processing.errors import AppError

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Signal:
    """Something that happens to an app. `@app.on_rebalance_complete.connect` adds a handler."""

    def __init__(self, app: object, name: str, *, takes_async: bool) -> None:
        self.name = name
        self._app = app
        self._takes_async = takes_async
        self._handlers: list[tuple[Callable[..., Any], bool]] = []
        self.at_work: dict[int, str] = {}
        """Handlers that are waited for, by a number that no other one had."""
        self._number = 0

    def __repr__(self) -> str:
        return f"Signal({self.name!r})"

    def __bool__(self) -> bool:
        return bool(self._handlers)

    def connect(self, handler: Handler | None = None) -> Any:
        """Call this function whenever it happens; stands above a function with or without `()`."""
        return self._connect if handler is None else self._connect(handler)

    def _connect(self, handler: Handler) -> Handler:
        if not callable(handler):
            raise AppError(f"{self.name}.connect takes a function, not {handler!r}")
        if inspect.iscoroutinefunction(handler) and not self._takes_async:
            raise AppError(
                f"{self.name} is told between two awaits: its handler"
                f" {handler.__name__!r} must be a plain `def`"
            )
        self._handlers.append((handler, _takes_signal(handler)))
        return handler

    def disconnect(self, handler: Callable[..., Any]) -> None:
        """Call this function no more. AppError when it was not connected."""
        left = [each for each in self._handlers if each[0] is not handler]
        if len(left) == len(self._handlers):
            raise AppError(f"{handler!r} is not connected to {self.name}")
        self._handlers = left

    def send(self, *about: Any, **said: Any) -> None:
        """Tell every handler, in the order in which they were connected."""
        for handler, takes_signal in list(self._handlers):
            done = self._call(handler, takes_signal, about, said)
            assert not inspect.isawaitable(done), f"{self.name} is told between two awaits"

    async def send_and_wait(self, *about: Any, **said: Any) -> None:
        """Tell every handler, one after the other; each may be `async def`."""
        for handler, takes_signal in list(self._handlers):
            self._number += 1
            number = self._number
            self.at_work[number] = getattr(handler, "__name__", repr(handler))
            try:
                done = self._call(handler, takes_signal, about, said)
                if inspect.isawaitable(done):
                    await done
            finally:
                del self.at_work[number]

    def _call(
        self,
        handler: Callable[..., Any],
        takes_signal: bool,
        about: tuple[Any, ...],
        said: dict[str, Any],
    ) -> Any:
        more = {"signal": self} if takes_signal else {}
        return handler(self._app, *about, **said, **more)


def _takes_signal(handler: Callable[..., Any]) -> bool:
    parameters = inspect.signature(handler).parameters
    return "signal" in parameters or any(
        each.kind is each.VAR_KEYWORD for each in parameters.values()
    )
