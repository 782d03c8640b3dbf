"""A request that changes thousands of partitions, in slices (X4): what is decided and written at
once is small, and others have their turn while it becomes durable.

Each slice is decided when its turn comes, by what is true then; a topic is never split, but one
that is larger than a slice is prepared in several (`preparing`). When the broker ends between two
slices, the first are done and the client, without an answer, asks again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect, WhenDurable
from flowstream.broker.handlers.preparing import Preparation, Then, large, wait_for
from flowstream.broker.metadata.plan import Plan
from flowstream.broker.metadata.records import MetadataRecord
from flowstream.broker.types import NOBODY, Instant, ReplyTo

T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P", contravariant=True)

SLICE = 512
"""What one slice may weigh: a partition weighs 1, whatever is done with it."""
TOPIC_WEIGHT = 4
"""What a topic costs beside its partitions."""


def slices(
    items: Sequence[T], key: Callable[[T], Hashable], partitions: Callable[[T], int]
) -> list[tuple[T, ...]]:
    """The items in slices, in order. Items of one key are judged together, in the first slice:
    such a request says one thing twice, and all of it is refused.
    """
    keys = [key(each) for each in items]
    counts = Counter(keys)
    cut: list[list[T]] = [[e for e, k in zip(items, keys, strict=True) if counts[k] > 1]]
    room = SLICE
    for item, own in zip(items, keys, strict=True):
        if counts[own] > 1:
            continue
        weight = TOPIC_WEIGHT + max(0, partitions(item))
        if weight > room and cut[-1]:
            cut.append([])
            room = SLICE
        cut[-1].append(item)
        room -= weight
    return [tuple(each) for each in cut]


def prepared(
    cores: Cores, records: Sequence[MetadataRecord], write: Then, now: Instant
) -> list[Effect]:
    """Let `write` be called, which writes `records`: now, or when the logs are made of a topic that
    is larger than a slice.
    """
    made = large(cores, records, SLICE)
    if not made:
        return write(now)
    return Preparation(cores, records, made, SLICE, write).go_on(now)


class Planner(Protocol[P, R]):
    """Decides about one slice. `used` is how many partitions the slices before it made."""

    def __call__(self, part: tuple[P, ...], used: int, /) -> Plan[R]:
        """What to write, and what to answer."""
        ...


class Sliced(Generic[T, R]):
    """A request under way: `go_on` until its answer leaves."""

    def __init__(
        self,
        to: ReplyTo,
        cores: Cores,
        parts: Iterable[tuple[T, ...]],
        named: Callable[[T], str],
        plan: Planner[T, R],
        answer: Callable[[tuple[R, ...]], object],
        told: Callable[[Plan[R]], list[Effect]] = lambda plan: [],
        last: Callable[[], list[Effect]] = list,
    ) -> None:
        """`named` tells the topic, `told` is what the log says of a slice, `last` what is done
        beside the answer.
        """
        self._to = to
        self._cores = cores
        self._parts = deque(parts)
        self._named = named
        self._plan = plan
        self._answer = answer
        self._told = told
        self._last = last
        self._results: list[R] = []
        self._used = 0

    def go_on(self, now: Instant) -> list[Effect]:
        """Do the next slice; answer when the last one is durable. A broker that ends does not wait
        for all of them (V4).
        """
        if self._cores.is_ending:
            return []
        if wait_for(self._cores, map(self._named, self._parts[0]), self.go_on):
            return []
        plan = self._plan(self._parts.popleft(), self._used)
        self._results += plan.results
        self._used = plan.partitions
        if self._parts and not plan.records:  # nothing becomes durable that it could wait for
            self._cores.waiting.next_turn(NOBODY, self.go_on, now)  # done whoever leaves, as ever
            return []
        return prepared(self._cores, plan.records, partial(self._write, plan), now)

    def _write(self, plan: Plan[R], now: Instant) -> list[Effect]:
        if self._parts:
            effects = commit_metadata(self._cores, Decision(records=plan.records), now)
            return [*self._told(plan), *effects, WhenDurable(self.go_on)]
        reply = (self._to, self._answer(tuple(self._results)))
        decision = Decision(records=plan.records, replies=(reply,))
        effects = commit_metadata(self._cores, decision, now)
        return [*self._told(plan), *effects, *self._last()]
