"""The probe that learns what an agent makes of its stream: re-keying, windows, joins, dedupe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Coroutine
from typing import Any, TypeVar, cast

from flowstream.processing.errors import AppError, AppExited
from flowstream.processing.events.event import Arrival
from flowstream.processing.streams.deduping import DEDUPED_BEFORE, Seen
from flowstream.processing.streams.joining import Entry, Side
from flowstream.processing.streams.lookups import Waiting
from flowstream.processing.streams.stateful import GroupBy
from flowstream.processing.streams.stream import DerivedStream, SourceStream, Stream, TimedOut
from flowstream.processing.streams.stream_joins import JoinedStreams
from flowstream.processing.streams.stream_windows import StreamWindows
from flowstream.processing.tables.table import Table
from flowstream.processing.time.windowing import Span

T = TypeVar("T")


async def first_step(body: AsyncIterable[Any] | Awaitable[None]) -> None:
    """Run an agent's body until it ends or yields."""
    try:
        await _begin(body)
    except SystemExit as asked:
        raise AppExited("an agent, before it read its stream,", asked) from None


async def _begin(body: AsyncIterable[Any] | Awaitable[None]) -> None:
    if isinstance(body, AsyncGenerator):
        try:
            await anext(body, None)
        finally:
            await body.aclose()
    elif isinstance(body, Coroutine):
        await body
    else:
        raise AppError(
            f"an agent is an `async def` function, got one that returns {type(body).__name__}"
        )


class ProbeFeed:
    """A feed that only notices that it was asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.record: Arrival | None = None
        self.origin = ""
        self.taken = 0

    def complete(self) -> None:
        """No unit is ever open."""

    def hold(self) -> None:
        """No unit is ever open."""

    def gave(self) -> None:
        """Nothing ever arrives."""

    def advance(self) -> Arrival | None:
        """Nothing ever arrives."""
        return None

    def take_ready(self) -> Arrival | None:
        """Nothing ever arrives."""
        return None

    async def arrival(self, deadline: float | None) -> Arrival | None:
        """Notice, and wait for ever."""
        del deadline
        self.asked.set()
        never: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()
        return await never

    async def undecodable(self, error: Exception, *, held: bool) -> None:
        """Never happens."""

    def forward(self, key: bytes | None, value: bytes | None) -> None:
        """Never happens."""

    def fill(self, windows: StreamWindows, value: Any) -> list[Span]:
        """Nothing ever arrives."""
        del windows, value
        return []

    @property
    def seen(self) -> Seen | None:
        """Nothing is remembered."""
        return None

    def is_new(self, seen: Seen, id: bytes) -> bool:
        """Nothing ever arrives."""
        del seen, id
        return True

    def wait_for_table(self, waiting: Waiting) -> None:
        """Nothing ever arrives."""
        del waiting

    def meet(self, join: JoinedStreams, side: Side) -> list[Entry]:
        """Nothing ever arrives."""
        del join, side
        return []

    take_is_over = False

    def retime(self, timestamp_ms: int) -> None:
        """Nothing ever arrives."""

    def show_at(self, timestamp_ms: int) -> None:
        """Nothing ever arrives."""

    def loop_time(self) -> float:
        """Any time will do."""
        return 0.0


class Probed(DerivedStream[T]):
    """What comes out of windows or a join: nothing that keeps state may stand behind them."""

    async def _pull(self, *, hold: bool, deadline: float | None) -> T | TimedOut:
        return cast("T | TimedOut", await self._up._pull(hold=hold, deadline=deadline))


class ProbeSource(SourceStream[T]):
    """Remembers what `group_by` and windows asked for."""

    found: GroupBy | None = None
    windows: StreamWindows | None = None
    found_join: JoinedStreams | None = None
    found_seen: Seen | None = None
    found_waiting: Waiting | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.found_tables: list[Table[Any, Any]] = []

    def _is_joined_with(self, table: Table[Any, Any]) -> None:
        self.found_tables.append(table)

    def grouped(self, upstream: Stream[T], group: GroupBy) -> Stream[T]:
        """Go on probing on the same stream."""
        if self.found is not None:
            return super().grouped(upstream, group)  # refused
        if self.found_seen is not None:
            raise AppError(DEDUPED_BEFORE)
        self.found = group
        return upstream

    def deduped(self, upstream: Stream[T], seen: Seen) -> Stream[T]:
        """Go on probing on the same stream."""
        if self.found_seen is not None:
            raise AppError("dedupe stands once in an agent")
        self.found_seen = seen
        return upstream

    def looked_up(self, upstream: Stream[Any], waiting: Waiting) -> Stream[Any]:
        """Go on probing on the same stream."""
        self.found_waiting = waiting
        return Probed(upstream)

    def joined(self, upstream: Stream[Any], join: JoinedStreams) -> Stream[Any]:
        """Go on probing on the same stream."""
        self.found_join = join
        return Probed(upstream)

    def opened(self, upstream: Stream[Any], windows: StreamWindows) -> Stream[Any]:
        """Go on probing on the same stream."""
        self.windows = windows
        return Probed(upstream)
