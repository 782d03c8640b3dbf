"""Operators of a stream that need state or another topic: re-keying, windows, joins.

Each stands once in an agent, before every operator except `filter`, and splits the agent into parts
that run beside each other; the stream's source knows which part an instance plays.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from flowstream.processing.closing import WindowResult
from flowstream.processing.joined import Joined
from flowstream.processing.joining import How
from flowstream.processing.stream_joins import JoinedStreams, Within, stream_join
from flowstream.processing.stream_windows import (
    Emit,
    StreamWindows,
    Windows,
    fixed,
    sessions,
    sliding,
)
from flowstream.processing.topic import Topic
from flowstream.processing.windowed_tables import Late, Seconds

if TYPE_CHECKING:
    from flowstream.processing.stream import SourceStream, Stream

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class GroupBy:
    """What an agent's `group_by` asked for."""

    key: Callable[[Any], Any]
    name: str | None
    key_type: type[Any] | None
    partitions: int | None


def by(key: Callable[[T], Any] | str) -> Callable[[T], Any]:
    """A key function from a function or an attribute's (or dict key's) name."""
    if callable(key):
        return key
    attribute, item = operator.attrgetter(key), operator.itemgetter(key)
    return lambda value: item(value) if isinstance(value, dict) else attribute(value)


class StatefulOperators(Generic[T]):
    """The part of a stream that is about state and other topics."""

    @property
    @abstractmethod
    def _this(self) -> Stream[T]:
        """The stream."""

    @abstractmethod
    def _root(self, what: str) -> SourceStream[Any]:
        """The source under the filters; AppError when there is another operator between."""

    def group_by(
        self,
        key: Callable[[T], Any] | str,
        *,
        name: str | None = None,
        key_type: type[Any] | None = None,
        partitions: int | None = None,
    ) -> Stream[T]:
        """The same values under another key, through the topic `<app>-<name>-repartition`.

        `key` is a function of the value or the name of its attribute. Comes before every other
        operator except `filter`.
        """
        return self._root("group_by").grouped(
            self._this, GroupBy(by(key), name, key_type, partitions)
        )

    def tumbling(
        self, size: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """Windows of event time per key, of `size` each, one after the other; say what they keep:

            async for window in stream.tumbling(60, grace=5).count():
                print(window.key, window.start, window.value)

        A window is final once the watermark is `grace` past its end, and is told then, once
        (`emit="on_close"`); or on every change, or every so many seconds of event time and when it
        is final. What is later than that is dropped and counted, or a "dead_letter". Comes before
        every operator except `filter` and `group_by`. `name` is that of its table.
        """
        return fixed(self._this, size, size, grace, emit=emit, late=late, name=name)

    def hopping(
        self, size: Seconds, step: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """Windows of `size` that start every `step`; the rest as with `tumbling`."""
        return fixed(self._this, size, step, grace, emit=emit, late=late, name=name)

    def sliding(
        self, size: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """For each event the window of `size` that ends with it; the rest as with `tumbling`."""
        return sliding(self._this, size, grace, emit=emit, late=late, name=name)

    def session(
        self, gap: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """Sessions: events less than `gap` apart are one window; the rest as with `tumbling`."""
        return sessions(self._this, gap, grace, emit=emit, late=late, name=name)

    @overload
    def join(
        self, right: Topic[Any, R], *, within: Within, how: Literal["inner"] = ...,
        grace: Seconds = ..., late: Late = ..., name: str | None = ...,
    ) -> Stream[Joined[T, R]]: ...  # fmt: skip
    @overload
    def join(
        self, right: Topic[Any, R], *, within: Within, how: How, grace: Seconds = ...,
        late: Late = ..., name: str | None = ...,
    ) -> Stream[Joined[T | None, R | None]]: ...  # fmt: skip
    def join(
        self, right: Topic[Any, Any], *, within: Within, how: How = "inner",
        grace: Seconds = 0.0, late: Late = "drop", name: str | None = None,
    ) -> Stream[Any]:  # fmt: skip
        """Pairs of an event of this stream and one of `right` with the same key, at most `within`
        apart in event time: seconds both ways, or (before, after) this stream's event.

        "left" gives this stream's events that met nobody too, "outer" those of both, once the
        watermark says that nobody can come any more; `grace` is how long after the watermark an
        event may still come. Both topics need the same number of partitions, and the same keys.
        """
        asked = stream_join(right, within=within, how=how, grace=grace, late=late, name=name)
        return self._joined(asked)

    def _joined(self, join: JoinedStreams) -> Stream[Any]:
        return self._root("join").joined(self._this, join)

    def windowed(self, windows: StreamWindows) -> Stream[WindowResult[Any, Any]]:
        """What `tumbling` and the like give, by the part that this instance plays."""
        return self._root("windows").opened(self._this, windows)
