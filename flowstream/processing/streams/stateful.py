"""Operators of a stream that need state or another topic: re-keying, windows, joins.

Each stands once in an agent, before every operator except `filter`, and splits the agent into parts
that run beside each other; the stream's source knows which part an instance plays.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from flowstream.processing.declaring import check_partitions, described
from flowstream.processing.errors import AppError
from flowstream.processing.events.topic import Topic
from flowstream.processing.instead import telling
from flowstream.processing.streams.joining import How
from flowstream.processing.streams.stream_joins import JoinedStreams, Within, stream_join
from flowstream.processing.streams.stream_windows import (
    Emit,
    StreamWindows,
    Windows,
    fixed,
    sessions,
    sliding,
)
from flowstream.processing.tables.closing import WindowResult
from flowstream.processing.tables.lateness import Late
from flowstream.processing.tables.table import Table
from flowstream.processing.values.durations import Seconds, not_negative
from flowstream.processing.values.fields import PLAIN, by, check_field, classes_of, encodes, none_is
from flowstream.processing.values.joined import Joined

if TYPE_CHECKING:
    from flowstream.processing.streams.lookups import Waiting
    from flowstream.processing.streams.stream import SourceStream, Stream

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class GroupBy:
    """What an agent's `group_by` asked for."""

    key: Callable[[Any], Any] | None
    """None: the keys stay."""
    name: str | None
    key_type: type[Any] | None
    partitions: int | None
    topic: Topic[Any, Any] | None = None
    """A declared topic in place of one of our own."""
    field: str | None = None
    """The name that `key` reads, if it was given one."""

    def check(self, kind: Any, what: str) -> None:
        """AppError when values of this type have no such field, or one of another type."""
        if self.field is None:
            return
        what = f"{what}: group_by({self.field!r})"
        found, key_type = check_field(kind, self.field, what), self.key_type
        given = set(classes_of(found) or ()) - {type(None)}
        if key_type not in PLAIN or not given <= set(PLAIN):
            return
        if refused := none_is(found, lambda each: encodes(key_type, each)):
            raise AppError(
                f"{what} makes keys of type {refused}, and their declared type is"
                f" {key_type.__name__}: say key_type={refused.partition(' ')[0]}"
            )


def check_through(topic: object, what: str) -> None:
    """Refuse what values cannot go through."""
    if not isinstance(topic, Topic):
        raise AppError(f"{what} takes a topic, not {described(topic)}: app.topic(...)")
    if topic.prepare is not None:
        raise AppError(
            f"{what}: the schema of topic {topic.name!r} prepares headers, and what goes through it"
            " keeps those of its records: declare the topic without it"
        )


class StatefulOperators(Generic[T]):
    """The part of a stream that is about state and other topics."""

    @property
    @abstractmethod
    def _this(self) -> Stream[T]:
        """The stream."""

    @abstractmethod
    def _root(self, what: str) -> SourceStream[Any]:
        """The source under the filters; AppError when there is another operator between."""

    @telling("Stream.group_by")
    def group_by(
        self,
        key: Callable[[T], Any] | str,
        *,
        name: str | None = None,
        key_type: type[Any] | None = None,
        partitions: int | None = None,
        topic: Topic[Any, T] | None = None,
    ) -> Stream[T]:
        """The same values under another key, through the topic `<app>-<name>-repartition`, or a
        `topic` of yours, which says the type of the keys.

        `key` is a function of the value or the name of its attribute. Comes before every other
        operator except `filter`.
        """
        check_partitions(partitions, "group_by")
        if topic is not None:
            check_through(topic, "group_by(topic=)")
            if (name, key_type, partitions) != (None, None, None):
                raise AppError(
                    f"group_by: name, key type and partitions are those of topic {topic.name!r}:"
                    " leave name=, key_type= and partitions= out"
                )
            key_type = topic.key_type
        field = key if isinstance(key, str) else None
        group = GroupBy(by(key, "group_by"), name, key_type, partitions, topic, field=field)
        return self._root("group_by").grouped(self._this, group)

    @telling("Stream.through")
    def through(self, topic: Topic[Any, T]) -> Stream[T]:
        """The same values by way of a topic of yours, with their keys; as `group_by`, comes before
        every other operator except `filter`.
        """
        check_through(topic, "through")
        group = GroupBy(None, None, None, None, topic)
        return self._root("through").grouped(self._this, group)

    @telling("Stream.tumbling")
    def tumbling(
        self, size: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """Windows of event time per key, of `size` seconds each (or a timedelta, as all spans), one
        after the other; say what they keep:

            async for window in stream.tumbling(60, grace=5).count():
                print(window.key, window.start, window.value)

        A window is final once the watermark is `grace` past its end, and is told then, once
        (`emit="on_close"`); or on every change, or every so many seconds of event time and when it
        is final. What is later than that is dropped and counted, or a "dead_letter". Comes before
        every operator except `filter` and `group_by`. `name` is that of its table.
        """
        return fixed(self._this, size, size, grace, emit=emit, late=late, name=name)

    @telling("Stream.hopping")
    def hopping(
        self, size: Seconds, step: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """Windows of `size` that start every `step` seconds; the rest as with `tumbling`."""
        return fixed(self._this, size, step, grace, emit=emit, late=late, name=name)

    @telling("Stream.sliding")
    def sliding(
        self, size: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """For each event the window of `size` seconds that ends with it; else as `tumbling`."""
        return sliding(self._this, size, grace, emit=emit, late=late, name=name)

    @telling("Stream.session")
    def session(
        self, gap: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """Sessions: events less than `gap` seconds apart are one window; else as `tumbling`."""
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
    @overload
    def join(
        self, right: Table[Any, R], *, how: Literal["inner"] = ..., as_of: bool = ...,
        grace: Seconds = ...,
    ) -> Stream[Joined[T, R]]: ...  # fmt: skip
    @overload
    def join(
        self, right: Table[Any, R], *, how: Literal["left"], as_of: bool = ...,
        grace: Seconds = ...,
    ) -> Stream[Joined[T, R | None]]: ...  # fmt: skip
    @telling("Stream.join")
    def join(
        self, right: Topic[Any, Any] | Table[Any, Any], *, within: Within | None = None,
        how: How = "inner", grace: Seconds = 0.0, late: Late = "drop", name: str | None = None,
        as_of: bool = False,
    ) -> Stream[Any]:  # fmt: skip
        """Pairs of an event of this stream and one of `right` with the same key, at most `within`
        apart in event time: seconds both ways, or (before, after) this stream's event.

        "left" gives this stream's events that met nobody too, "outer" those of both, once the
        watermark says that nobody can come any more; `grace` is how long after the watermark an
        event may still come. Both topics need the same number of partitions, and the same keys.

        With a table it is each event with the row of its key, as it is when the event is processed
        (a table of a topic that was never read is filled first; from then on nothing says which
        topic is read first); or as it was at the event's time (`as_of`, for tables with a history):
        the event then waits until the watermark is `grace` past it. "left" gives events whose key
        has no row, too.
        """
        if isinstance(right, Table):
            if late != "drop" or name is not None:
                raise AppError("a join with a table has no late= and no name=")
            return self._lookup(right, how, as_of=as_of, grace=grace, within=within)
        if not isinstance(right, Topic):
            raise AppError(f"join takes a topic or a table, not {described(right)}")
        if within is None:
            raise AppError("a join with a topic says how far apart events may be: within=SECONDS")
        if as_of:
            raise AppError("as_of= is for a join with a table: streams meet by within= alone")
        asked = stream_join(right, within=within, how=how, grace=grace, late=late, name=name)
        return self._joined(asked)

    def _lookup(
        self, table: Table[Any, Any], how: How, *, as_of: bool, grace: Seconds,
        within: Within | None,
    ) -> Stream[Any]:  # fmt: skip
        from flowstream.processing.streams.lookups import LookupStream, Waiting

        if how not in ("inner", "left") or within is not None:
            raise AppError("a join with a table is 'inner' or 'left', and has no within=")
        if table.window is not None:
            raise AppError(f"table {table.name!r} has windows, which have no single value")
        grace_ms = not_negative("a join's grace", grace)
        if not as_of and grace_ms:
            raise AppError(
                f"a join with table {table.name!r} as it is waits for nobody: grace= is for one as"
                " of event time, as_of=True"
            )
        self._this._is_joined_with(table)
        if not as_of:
            return LookupStream(self._this, table, inner=how == "inner")
        return self._looked_up(Waiting(table, inner=how == "inner", grace_ms=grace_ms))

    def _looked_up(self, waiting: Waiting) -> Stream[Any]:
        return self._root("join").looked_up(self._this, waiting)

    def _joined(self, join: JoinedStreams) -> Stream[Any]:
        return self._root("join").joined(self._this, join)

    def windowed(self, windows: StreamWindows) -> Stream[WindowResult[Any, Any]]:
        """What `tumbling` and the like give, by the part that this instance plays."""
        return self._root("windows").opened(self._this, windows)
