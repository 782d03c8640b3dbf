"""An app against itself: killed at every step of every commit and after every event, it must commit
what it commits when nobody disturbs it.

Shell. What is compared is what others see: committed records and tables.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from flowstream.processing.app import App
from flowstream.processing.commit import EXACTLY_ONCE
from flowstream.processing.events.current import Headers
from flowstream.processing.events.topic import RecordMetadata, Topic
from flowstream.testing.context import AppContext
from flowstream.testing.lives import STEPS
from flowstream.testing.tables import rows_of, table_view
from flowstream.testing.topics import Received

MOST_SHOWN = 20
MOST_RUNS = 400


@dataclass(frozen=True, slots=True)
class Input:
    """A record to put in; times in seconds. Without a `timestamp` it has the time at which it came
    in the run that nobody disturbs.
    """

    topic: Topic[Any, Any] | str
    value: Any = None
    key: Any = None
    timestamp: float | None = None
    headers: Headers = field(default=())

    def put(self, context: AppContext, *, settle: bool) -> RecordMetadata:
        """Into the app; gives where it is."""
        return context.topic(self.topic).send(
            self.value, key=self.key, timestamp=self.timestamp, headers=self.headers, settle=settle
        )


Step = Input | float | datetime.timedelta
"""A record, or time that passes."""

Seen = dict[str, dict[Any, list[Any]]]
"""By topic: the records of each key, in order. By table: the value of each key."""


@dataclass(frozen=True, slots=True)
class Report:
    """How often the app was run, and how often it was killed in all."""

    runs: int
    crashes: int


def assert_exactly_once(
    app: App | Callable[[], App],
    inputs: Iterable[Step],
    *,
    workers: int = 1,
    compare: Sequence[str] = ("key", "value", "headers", "timestamp"),
    most_runs: int = MOST_RUNS,
    queries: Mapping[Any, str] | None = None,
    **options: Any,
) -> Report:
    """Run an app undisturbed, then again and again with a kill at each step of each of its commits,
    and once more with a kill after each number of events, and compare what was committed.

    AssertionError with the differences. Records of one key are compared in their order, in the
    parts that `compare` names; an app that stamps records with the clock leaves "timestamp" out. In
    a topic that `inputs` feed and the app writes to they may come in any order.
    An app that a function makes is made anew for each worker that starts after a kill.
    More than `most_runs` runs are spread over all places. `options` are an `AppContext`'s. Of what
    outboxes write, all rows are compared, or what a query of `queries` gives, by outbox or name.
    """
    steps = list(inputs)
    fed = Counter(_name_of(step.topic) for step in steps if isinstance(step, Input))
    opened = _Opened(app, workers, options)
    with opened.context() as context:
        if context.app.settings.processing_guarantee != EXACTLY_ONCE:
            raise ValueError(
                f"app {context.app.id!r} has processing_guarantee='at_least_once', which does"
                " repeat records after a crash: leave it out"
            )
        steps = _stamped(context, steps)
        commits = context.commits
        expected = _seen(context, compare, fed) | _written(context, queries or {})
    records = sum(isinstance(step, Input) for step in steps)
    places: list[tuple[str, int]] = [(s, n) for n in range(1, commits + 1) for s in STEPS]
    places += [("", events) for events in range(1, records + 1)]
    if len(places) > most_runs:
        places = [places[i * len(places) // most_runs] for i in range(most_runs)]
    crashes = 0
    for step, number in places:
        with opened.context() as context:
            where = _disturbed(context, steps, step, number)
            found = _seen(context, compare, fed) | _written(context, queries or {})
            crashes += context.crashes
        differences = list(_differences(expected, found))
        if differences:
            raise AssertionError(_told(where, differences))
    if records and not crashes:
        raise AssertionError("the app committed nothing, so that it could not be killed at it")
    return Report(1 + len(places), crashes)


@dataclass(frozen=True, slots=True)
class _Opened:
    app: App | Callable[[], App]
    workers: int
    options: Mapping[str, Any]

    def context(self) -> AppContext:
        if isinstance(self.app, App):
            return AppContext(self.app, workers=self.workers, **self.options)
        context = AppContext(self.app(), workers=self.workers, **self.options)
        context._again = self.app
        return context


def _stamped(context: AppContext, steps: Sequence[Step]) -> list[Step]:
    """Run undisturbed. The same steps, in which each record has the time that it had: who is killed
    comes to it later, and a result has the time of its event.
    """
    stamped: list[Step] = []
    for step in steps:
        if isinstance(step, Input) and step.timestamp is None:
            step = replace(step, timestamp=context.now)
        _take(context, step, settle=True)
        stamped.append(step)
    return stamped


def _disturbed(context: AppContext, steps: Sequence[Step], step: str, number: int) -> str:
    if step:
        context.crash_at(step, times=number)
        _run(context, steps)
        return f"killed before step {step!r} of commit {number}"
    context.crash_after(number)
    # Nobody promises an order of several topics: undisturbed it is that of the inputs, and so here.
    in_order = len({_name_of(each.topic) for each in steps if isinstance(each, Input)}) > 1
    arrivals = context.broker.arrivals
    for index, each in enumerate(steps):
        later = any(isinstance(left, Input) for left in steps[index + 1 :])
        sent = _take(context, each, settle=in_order or context.crashes > 0 or not later)
        if in_order and sent is not None:
            arrivals[sent.topic, sent.partition, sent.offset] = len(arrivals)
        if not later and not context.crashes:
            context.crash()  # of several workers none has had so many
    return f"killed after event {number}, before it was committed"


def _run(context: AppContext, steps: Sequence[Step]) -> None:
    for each in steps:
        _take(context, each, settle=True)


def _take(context: AppContext, step: Step, *, settle: bool) -> RecordMetadata | None:
    if isinstance(step, Input):
        return step.put(context, settle=settle)
    context.advance(step)
    return None


def _name_of(topic: Topic[Any, Any] | str) -> str:
    return topic if isinstance(topic, str) else topic.name


def _seen(context: AppContext, compare: Sequence[str], fed: Mapping[str, int]) -> Seen:
    """What others see of the app: topics it writes to, and not only who runs it; dead letters;
    tables. A topic that is `fed` with so many records and has others is written by the app, too:
    what of it comes first is a matter of when it was fed.
    """
    app = context.app
    seen: Seen = {}
    for topic in app.topics.values():
        is_sink = any(_writes(agent, topic) for agent in app.agents.values())
        if is_sink or len(context.topic(topic)) != fed.get(topic.name, 0):
            by_key = seen.setdefault(f"topic {topic.name}", {})
            for record in context.topic(topic):
                by_key.setdefault(_hashed(record.key), []).append(_parts(record, compare))
            if topic.name in fed:
                for records in by_key.values():
                    records.sort(key=repr)
    letters = seen.setdefault(f"topic {app.dead_letters}", {})
    for letter in context.dead_letters:
        told = (letter.value, letter.topic, letter.agent, letter.error, letter.cause)
        letters.setdefault(letter.key, []).append(told)
    # How far back they go is a matter of when it was asked.
    versions = {table.versions.name for table in app.tables.values() if table.versions is not None}
    for name, table in app.tables.items():
        if name in versions:
            continue
        view = table_view(context, rows_of(table))
        seen[f"table {name}"] = {_hashed(key): [value] for key, value in view.items()}
    return seen


def _written(context: AppContext, queries: Mapping[Any, str]) -> Seen:
    """What outboxes have written, in any order: who comes first is nobody's promise there."""
    seen: Seen = {}
    for what, rows in context._databases.rows(queries):
        by_row = seen.setdefault(what, {})
        for row in rows:
            by_row.setdefault(_hashed(row), []).append(row)
    return seen


def _writes(agent: Any, topic: Topic[Any, Any]) -> bool:
    return any(getattr(sink, "name", None) == topic.name for sink in agent.sinks)


def _hashed(key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        return repr(key)
    return key


def _parts(record: Received[Any, Any], compare: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(record, part) for part in compare)


def _differences(expected: Seen, found: Seen) -> Iterable[str]:
    for name in sorted(expected.keys() | found.keys()):
        wanted, got = expected.get(name, {}), found.get(name, {})
        for key in [*wanted, *(key for key in got if key not in wanted)]:
            missing = object()
            pairs = zip_longest(wanted.get(key, ()), got.get(key, ()), fillvalue=missing)
            for index, (one, other) in enumerate(pairs):
                if one is missing:
                    yield f"{name}, key {key!r}, number {index + 1}: only when killed: {other!r}"
                elif other is missing:
                    yield f"{name}, key {key!r}, number {index + 1}: missing when killed: {one!r}"
                elif one != other and not _is_nan(one, other):
                    yield f"{name}, key {key!r}, number {index + 1}: {one!r} became {other!r}"


def _is_nan(one: object, other: object) -> bool:
    """Whether the two differ only as a NaN does from itself."""
    return "nan" in repr(one) and repr(one) == repr(other)


def _told(where: str, differences: Sequence[str]) -> str:
    shown = "\n".join(f"  {each}" for each in differences[:MOST_SHOWN])
    more = len(differences) - MOST_SHOWN
    rest = f"\n  and {more} more" if more > 0 else ""
    return (
        f"not exactly once: {where}, the app committed something else than undisturbed\n"
        f"{shown}{rest}\n"
        "A table's values survive a crash, an agent's variables and what it does outside do not."
    )
