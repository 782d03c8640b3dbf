"""Tasks that agents start: each belongs to the unit in which it was started, and to no later one.

A task inherits the context of whoever starts it, and so the instance, which goes on to its next
unit whether or not the task has ended. Here a task that is started in a unit gets that unit instead
(S9). Asked when a task is made, so that it costs an event nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, cast

from flowstream.processing.events.current import CURRENT, Current
from flowstream.processing.events.event import Arrival
from flowstream.processing.streams.stream import SourceStream, Stream

if TYPE_CHECKING:
    from flowstream.processing.running.instance import Instance

Make = Callable[..., "asyncio.Future[Any]"]


PULLS = (Stream.__anext__.__code__, SourceStream.__anext__.__code__)


class Started:
    """What runs in a task that an agent started in a unit: the instance, as long as that unit is
    open. See `Current`.
    """

    __slots__ = ("_instance", "_unit")

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._unit = instance.unit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instance, name)

    @property
    def record(self) -> Arrival | None:
        """The record being processed, None once the unit is over."""
        instance = self._instance
        return instance.record if instance.unit == self._unit else None

    @property
    def label(self) -> str:
        """For messages."""
        return f"a task that {self._instance.label} started"


class TaskFactory:
    """Makes tasks as the loop did before, those that agents start in a unit of theirs."""

    def __init__(self, make: Make | None) -> None:
        self._make = make or _make

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        """A task; one with a context of its own is the user's business."""
        current = CURRENT.get()
        if getattr(coro, "cr_code", None) in PULLS:
            current = None  # `wait_for(anext(stream), 5)`: this is the agent itself, which moves on
        is_started = isinstance(current, Started) or current is None or current.record is None
        if is_started or options.get("context") is not None:
            return self._make(loop, coro, **options)
        context = copy_context()
        context.run(CURRENT.set, cast("Current", Started(cast("Instance", current))))
        make: Any = self._make
        return context.run(make, loop, coro, **options)


def _make(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Future[Any]:
    return asyncio.Task(coro, loop=loop, **options)


def tell_tasks_apart(loop: asyncio.AbstractEventLoop) -> None:
    """Have a loop's tasks know in which unit they were started, from here on."""
    make = cast("Make | None", loop.get_task_factory())
    if not isinstance(make, TaskFactory):
        loop.set_task_factory(cast("Any", TaskFactory(make)))
