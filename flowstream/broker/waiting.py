"""What a node waits with until something is durable, a partition grows or a time has come.

Lives here: soft state only, gone after a restart. It must not know requests or logs: parked things
are callables. What there is no room for in this turn is postponed to the next ones, first come
first served (X3).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

from flowstream.broker.effects import Effect, Parkable
from flowstream.broker.types import ConnectionId, Instant, TopicPartition

AT_ONCE = Instant(0)

SLACK = 64
"""Deadlines of answered requests that may lie around."""


@dataclass(slots=True, eq=False)
class Parked:
    """A request that waits until one of `partitions` moves on or `deadline` comes (long-poll
    fetch).

    `attempt(now, last)` returns the effects that answer it, or None to wait on; with `last` it must
    answer.
    """

    connection: ConnectionId
    partitions: tuple[TopicPartition, ...]
    deadline: Instant
    attempt: Callable[[Instant, bool], list[Effect] | None]
    done: bool = False


class Watcher(Protocol):
    """Who wants to know, for longer than one request, which partitions move."""

    def moved(self, partition: TopicPartition, token: Any, /) -> Parked | None:
        """`partition` moved, watched under `token`; the request to look at then, if one waits."""
        ...


@dataclass(slots=True)
class Waiting:
    """Effects that wait for write groups, in order, and requests that wait for partitions."""

    groups: deque[tuple[int, list[Parkable]]] = field(default_factory=deque)
    _by_partition: dict[TopicPartition, dict[Parked, None]] = field(default_factory=dict)
    _by_connection: dict[ConnectionId, dict[Parked, None]] = field(default_factory=dict)
    _watchers: dict[TopicPartition, dict[tuple[Watcher, Hashable], None]] = field(
        default_factory=dict
    )
    computing: dict[ConnectionId, Callable[[bytes, Instant], list[Effect]]] = field(
        default_factory=dict
    )
    """What becomes of the results that are computed off the loop (Compute)."""
    has_room: Callable[[], bool] = lambda: True
    """Whether one more answer may be made in this turn."""
    _postponed: OrderedDict[Parked, bool] = field(default_factory=OrderedDict)
    """What is to be looked at when there is room, and whether for the last time."""
    _deadlines: list[tuple[Instant, int, Parked]] = field(default_factory=list)
    _parked: int = 0
    _alive: int = 0

    def admits(self) -> bool:
        """Whether a new request may be looked at: not before those that wait for room."""
        return not self._postponed and self.has_room()

    def park(self, parked: Parked, *, postponed: bool = False) -> None:
        """Keep `parked` until a partition moves, its deadline comes or its connection goes. One
        that is `postponed` nobody has looked at: it is tried as soon as there is room, too.
        """
        if postponed:
            self._postponed[parked] = False
        for partition in parked.partitions:
            self._by_partition.setdefault(partition, {})[parked] = None
        self._by_connection.setdefault(parked.connection, {})[parked] = None
        self._alive += 1
        self._parked += 1
        heapq.heappush(self._deadlines, (parked.deadline, self._parked, parked))
        if len(self._deadlines) > 2 * self._alive + SLACK:
            # Answered ones leave their deadline behind: a busy reader must not fill the heap.
            self._deadlines = [each for each in self._deadlines if not each[2].done]
            heapq.heapify(self._deadlines)

    def next_turn(
        self, connection: ConnectionId, then: Callable[[Instant], list[Effect]], now: Instant
    ) -> None:
        """Call `then(now)` a moment later: a request that takes long goes on when others had their
        turn (X4).
        """
        later = Instant(now + 1)
        self.park(Parked(connection, (), later, lambda now, last: then(now) if last else None))

    def watch(self, partition: TopicPartition, watcher: Watcher, token: Hashable) -> None:
        """Tell `watcher` whenever `partition` moves, and `token` with it."""
        self._watchers.setdefault(partition, {})[watcher, token] = None

    def unwatch(self, partition: TopicPartition, watcher: Watcher, token: Hashable) -> None:
        """Tell it no more."""
        watchers = self._watchers[partition]
        del watchers[watcher, token]
        if not watchers:
            del self._watchers[partition]

    def moved(self, partitions: Collection[TopicPartition], now: Instant) -> list[Effect]:
        """These partitions have new data or are gone: answer what can be answered."""
        effects: list[Effect] = []
        if self._watchers:
            for parked in self._woken(partitions):
                self._attempt(parked, now, last=False, effects=effects)
        if self._by_partition:
            for partition in partitions:
                for parked in list(self._by_partition.get(partition, ())):
                    self._attempt(parked, now, last=False, effects=effects)
        return effects

    def _woken(self, partitions: Collection[TopicPartition]) -> dict[Parked, None]:
        """The watchers are all told before any request is looked at: one answer tells it all."""
        woken: dict[Parked, None] = {}
        for partition in partitions:
            for watcher, token in self._watchers.get(partition, ()):
                parked = watcher.moved(partition, token)
                if parked is not None:
                    woken[parked] = None
        return woken

    def expire(self, now: Instant) -> list[Effect]:
        """Answer what was postponed, and everything whose deadline has come, with what there is."""
        effects: list[Effect] = []
        while self._postponed and self.has_room():
            parked, last = self._postponed.popitem(last=False)
            self._answer(parked, now, last=last, effects=effects)
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, parked = heapq.heappop(self._deadlines)
            if not parked.done:
                self._attempt(parked, now, last=True, effects=effects)
        return effects

    def deadline(self) -> Instant | None:
        """When `expire` is wanted next."""
        if self._postponed:
            return AT_ONCE
        while self._deadlines and self._deadlines[0][2].done:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def disconnected(self, connection: ConnectionId) -> None:
        """Nobody is left to answer on `connection`."""
        self.computing.pop(connection, None)
        for parked in list(self._by_connection.get(connection, ())):
            self._forget(parked)

    def _attempt(self, parked: Parked, now: Instant, *, last: bool, effects: list[Effect]) -> None:
        if parked.done:
            return
        if self.admits():
            self._answer(parked, now, last=last, effects=effects)
        else:
            self._postponed[parked] = last or self._postponed.get(parked, False)

    def _answer(self, parked: Parked, now: Instant, *, last: bool, effects: list[Effect]) -> None:
        answer = parked.attempt(now, last)
        assert answer is not None or not last, "a parked request must answer at its deadline"
        if answer is not None:
            self._forget(parked)
            effects.extend(answer)

    def _forget(self, parked: Parked) -> None:
        parked.done = True
        self._postponed.pop(parked, None)
        self._alive -= 1
        for partition in parked.partitions:
            waiters = self._by_partition.get(partition)
            if waiters is not None:
                waiters.pop(parked, None)
                if not waiters:
                    del self._by_partition[partition]
        mine = self._by_connection[parked.connection]
        mine.pop(parked, None)
        if not mine:
            del self._by_connection[parked.connection]
