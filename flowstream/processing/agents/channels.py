"""Channels: values from one part of an app to another, in the memory of a worker.

Shell. What a unit puts into a channel is there once the unit is committed, and never if it is not;
what has been put is gone with its process. So a channel gives each value at most once.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from weakref import ReferenceType, WeakSet, ref

from flowstream.clock import wall_ms
from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import WORKER, Headers, in_unit, is_inside_agent
from flowstream.processing.events.event import Event
from flowstream.processing.events.topic import header_pairs
from flowstream.processing.instead import missing
from flowstream.processing.values.durations import Seconds, milliseconds

if TYPE_CHECKING:
    from flowstream.processing.streams.stream import Stream

T = TypeVar("T")

log = logging.getLogger("flowstream.channel")

MAX_SIZE = 4_096
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Thrown:
    """In place of a value: who comes to it meets the error."""

    error: Exception


class Listener(Generic[T]):
    """One of those who get everything that is put into a channel: an agent, or an `async for`."""

    def __init__(self) -> None:
        self.worker = WORKER.get()
        self._waiting: deque[Event[T]] = deque()
        self._there = asyncio.Event()
        self.room = asyncio.Event()
        """Set when there is one less, or nobody is here any more."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __aiter__(self) -> Listener[T]:
        return self

    async def __anext__(self) -> Event[T]:
        return await self.get()

    def deliver(self, event: Event[T]) -> None:
        """One more."""
        self._waiting.append(event)
        self._there.set()

    def take(self) -> Event[T] | None:
        """The first event, None when there is none. Raises what was thrown in its place."""
        if not self._waiting:
            return None
        self.room.set()
        event = self._waiting.popleft()
        if isinstance(event.value, Thrown):
            raise event.value.error
        return event

    def give_back(self, events: Iterable[Event[T]]) -> None:
        """These come first, and once more."""
        self._waiting.extendleft(reversed(list(events)))
        self._there.set()

    async def get(self, *, timeout: Seconds | None = None) -> Event[T]:
        """The first event, as soon as there is one. Raises what was thrown in its place, and
        TimeoutError when there is none in time.
        """
        async with asyncio.timeout(None if timeout is None else milliseconds(timeout) / 1000):
            while (event := self.take()) is None:
                self._there.clear()
                await self._there.wait()
            return event


async def has_room(listener: ReferenceType[Listener[Any]], size: int) -> None:
    """Wait until fewer than so many events wait for a listener, or it is gone: who waits is not who
    keeps it.
    """
    while (here := listener()) is not None and len(here) >= size:
        room = here.room
        gone = ref(here, partial(_tell, asyncio.get_running_loop(), room))
        del here
        room.clear()
        await room.wait()
        del gone


def _tell(loop: asyncio.AbstractEventLoop, room: asyncio.Event, gone: object) -> None:
    del gone
    # Garbage is collected in any thread.
    if not loop.is_closed():
        loop.call_soon_threadsafe(room.set)


class Channel(Generic[T]):
    """See `App.channel`. `async for event in channel` gets what is put from then on."""

    def __init__(
        self, *, key_type: Any = None, value_type: Any = None, maxsize: int | None = None,
        is_late: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        size = MAX_SIZE if maxsize is None else maxsize
        if type(size) is not int or size < 1:
            raise AppError(f"maxsize must be a whole number from 1 on, not {described(maxsize)}")
        for name, kind in (("key_type", key_type), ("value_type", value_type)):
            if kind is not None and not isinstance(kind, type):
                raise AppError(f"{name} of a channel must be a class, not {described(kind)}")
        self.name = f"channel-{next(_NUMBERS)}"
        self.key_type = key_type
        self.value_type = value_type
        self.maxsize = size
        self.was_late = is_late()
        """Whether a worker had the app already: its units do not know this channel."""
        self._listeners: WeakSet[Listener[T]] = WeakSet()
        self._own: Listener[T] | None = None
        """Who gets what `get` gives, once it was asked for."""
        self._was_heard = True

    if not TYPE_CHECKING:  # checkers know what is there

        def __getattr__(self, name: str) -> Any:
            raise missing("Channel", name, f"{type(self).__name__!r} object")

    def __repr__(self) -> str:
        return f"Channel({self.name!r})"

    def __aiter__(self) -> AsyncIterator[Event[T]]:
        return self.listen()

    def listen(self) -> Listener[T]:
        """Somebody who gets all that is delivered from now on, for as long as they are kept."""
        listener: Listener[T] = Listener()
        self._listeners.add(listener)
        return listener

    async def get(self, *, timeout: Seconds | None = None) -> Event[T]:
        """The next event of those that are put from the first `get` on; TimeoutError when there is
        none within `timeout` seconds. Who has asked once is a listener for good: ask again, or
        putting will wait.
        """
        if self._own is None:
            self._own = self.listen()
        return await self._own.get(timeout=timeout)

    async def declare(self) -> None:
        """Nothing has to be made for a channel to be there."""

    async def maybe_declare(self) -> None:
        """As `declare`."""

    def get_topic_name(self) -> str:
        """The channel's name."""
        return self.name

    def derive(self, **changes: Any) -> Channel[Any]:
        """Another channel with the same types and size, but for what is given."""
        own = {"key_type": self.key_type, "value_type": self.value_type, "maxsize": self.maxsize}
        return Channel(**{**own, **changes}, is_late=lambda: self.was_late)

    def stream(self) -> Stream[T]:
        """The values that are put from now on, with a stream's operators, outside of agents."""
        from flowstream.processing.agents.channel_agents import stream_of

        return stream_of(self)

    def empty(self) -> bool:
        """Whether nobody has anything waiting."""
        return not any(len(listener) for listener in self._listeners)

    async def put(self, value: T, *, key: Any = None) -> None:
        """Put a value in: at once, or inside an agent when the event is committed. Waits while
        `maxsize` events wait for a listener.
        """
        await self.send(key=key, value=value)

    async def send(
        self, *, key: Any = None, value: Any = None, timestamp: float | None = None,
        headers: Headers = (),
    ) -> None:  # fmt: skip
        """As `put`, with all that an event has."""
        await self._put(self._event(key, value, timestamp, headers))

    async def throw(self, error: Exception) -> None:
        """Raise an error in whoever reads the channel, in its place among the values: in an agent
        it fails the agent, whose `on_error` decides. As `put`, it waits, and for the commit too.
        """
        if not isinstance(error, Exception):
            raise AppError(f"throw takes an exception such as ValueError(), not {described(error)}")
        at = wall_ms() / 1000
        await self._put(Event(None, cast("T", Thrown(error)), (), at, self.name, -1, -1))

    async def _put(self, event: Event[T]) -> None:
        unit = in_unit(f"putting into {self!r}") if is_inside_agent() else None
        if unit is not None and self.was_late:
            raise AppError(
                f"{self!r} was made after the worker had started: agents that read topics can put"
                " only into channels that are declared with the app"
            )
        for listener in [ref(each) for each in self._hearing()]:
            await has_room(listener, self.maxsize)
        if unit is None:
            self.deliver(event)
        else:
            unit.hand_over(self, event)

    def send_soon(
        self, *, key: Any = None, value: Any = None, timestamp: float | None = None,
        headers: Headers = (),
    ) -> None:  # fmt: skip
        """As `send`, for functions that cannot await: it never waits, so nothing bounds it."""
        event = self._event(key, value, timestamp, headers)
        if is_inside_agent():
            in_unit(f"putting into {self!r}").hand_over(self, event)
        else:
            self.deliver(event)

    def deliver(self, event: Event[T]) -> None:
        """It may be seen from now on."""
        hearing = self._hearing()
        for listener in hearing:
            listener.deliver(event)
        is_heard = bool(hearing)
        if not is_heard and self._was_heard:
            log.warning("%r has no listener: what is put into it is gone", self)
        self._was_heard = is_heard

    def _hearing(self) -> list[Listener[T]]:
        """Who gets what is put here: not those of another worker of the app, which may run in the
        same process in a test, and never does elsewhere.
        """
        here = WORKER.get()
        if here is None:
            return list(self._listeners)
        app, worker = here
        return [
            each
            for each in self._listeners
            if each.worker is None or each.worker[0] is not app or each.worker[1] is worker
        ]

    def _event(self, key: Any, value: Any, timestamp: float | None, headers: Headers) -> Event[T]:
        for what, kind, given in (
            ("keys", self.key_type, key), ("values", self.value_type, value),
        ):  # fmt: skip
            if kind is not None and given is not None and not isinstance(given, kind):
                raise TypeError(f"{self!r} takes {what} of {kind.__name__}, not {described(given)}")
        at = wall_ms() / 1000 if timestamp is None else timestamp
        return Event(key, value, header_pairs(headers), at, self.name, -1, -1)


class Puts:
    """What units have put into channels and is not delivered yet: the open epoch's, and that of the
    one that commits.
    """

    def __init__(self) -> None:
        self._open: list[tuple[Channel[Any], Event[Any]]] = []
        self._closing: list[tuple[Channel[Any], Event[Any]]] = []

    def __len__(self) -> int:
        """Events that the open epoch holds."""
        return len(self._open)

    def appending(self, append: Callable[..., None]) -> Callable[..., None]:
        """What adds outputs to the open epoch, those for channels to this."""

        def sorted_out(to: Any, *record: Any) -> None:
            if isinstance(to, Channel):
                self._open.append((to, record[0]))
            else:
                append(to, *record)

        return sorted_out

    def closing(self) -> None:
        """The open epoch begins to commit."""
        self._closing += self._open
        self._open = []

    def committed(self) -> None:
        """It has committed: all see it now."""
        delivered, self._closing = self._closing, []
        for channel, event in delivered:
            channel.deliver(event)

    def dropped(self) -> None:
        """Nothing of it was ever there."""
        self._open, self._closing = [], []
