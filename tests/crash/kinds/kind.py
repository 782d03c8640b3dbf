"""What every kind of app has: topics, agents, inputs and a judge; and what a judge is shown.

Knows no process and no client. A judge sees whole logs, as read_committed, and says what is broken:
while something is still missing it says "loss".
"""

from __future__ import annotations

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from aiokafka.partitioner import murmur2

import flowstream as fs
from tests.checkers.history import Anomaly

PARTITIONS = 3
KEYS = 12
T0_MS = 1_700_000_000_000
DISORDER_S = 5.0
"""How much later than a newer one an event of these topics may come."""
DISORDER_MS = 5_000
JUMP_MS = 3_600_000
"""So far ahead is the event that ends a round: all that is open by then comes due."""
FOREVER = {"retention.ms": "-1"}
"""Events of these apps are old."""


def key_in(partition: int, partitions: int) -> str:
    """A key, none of those that are fed, that is placed in a partition."""
    names = (f"~{number}" for number in itertools.count())
    return next(
        name for name in names if (murmur2(name.encode()) & 0x7FFFFFFF) % partitions == partition
    )


class Sent(NamedTuple):
    """A record for an input topic."""

    topic: str
    key: str
    value: Any
    at_ms: int

    @property
    def data(self) -> bytes | None:
        """The value's bytes; a text is sent as it is."""
        if self.value is None or isinstance(self.value, str):
            return None if self.value is None else self.value.encode()
        return json.dumps(self.value).encode()


class Record(NamedTuple):
    """A committed record."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: str | None
    data: bytes | None
    headers: Mapping[str, bytes | None] = {}

    @property
    def value(self) -> Any:
        """The value, None for a tombstone."""
        return None if self.data is None else json.loads(self.data)


class Logs:
    """Everything that is committed in the topics of a run, and what was sent."""

    def __init__(self, app: str, records: Mapping[str, Sequence[Record]]) -> None:
        """`records`: by topic; in order within each partition."""
        self.app = app
        self._records = records

    def of(self, topic: str) -> Sequence[Record]:
        """A topic's records, partition by partition in order."""
        return sorted(self._records.get(topic, ()), key=lambda r: (r.partition, r.offset))

    def partitions(self, topic: str) -> dict[int, list[Record]]:
        """The same by partition."""
        found: dict[int, list[Record]] = defaultdict(list)
        for record in self.of(topic):
            found[record.partition].append(record)
        return found

    def table(self, name: str, *, is_text: bool = False) -> dict[tuple[int, str], Any]:
        """A table's rows by partition and key, folded from its changelog."""
        rows: dict[tuple[int, str], Any] = {}
        for record in self.of(f"{self.app}-{name}-changelog"):
            assert record.key is not None
            found = record.data and text(record.data) if is_text else record.value
            rows[record.partition, record.key] = found
        return {place: value for place, value in rows.items() if value is not None}

    def dead_letters(self, agent: str) -> list[tuple[str, int, int]]:
        """Where the dead letters of an agent came from: topic, partition, offset."""
        return [
            (
                text(letter.headers["flowstream.topic"]),
                int(text(letter.headers["flowstream.partition"])),
                int(text(letter.headers["flowstream.offset"])),
            )
            for letter in self.of(f"{self.app}-dead-letters")
            if text(letter.headers["flowstream.agent"]) == agent
        ]


def text(data: bytes | None) -> str:
    """A header's value."""
    assert data is not None
    return data.decode()


class Kind:
    """One small app. An instance feeds and judges; `declare` runs in the workers, too."""

    name: str
    partitions = PARTITIONS
    """Of all its topics. Those whose tables go by the event time of whatever shares their tasks
    have a number of their own.
    """
    settings: ClassVar[Mapping[str, Any]] = {}
    """Of its app, so that it is with kinds of the same ones only."""
    lingers = False
    """Whether its workers take their time between the steps of a commit: without a transaction
    there are few moments in which a kill is of any account.
    """
    is_fenced = True
    """Whether nothing stays that a worker writes once another one has its place."""
    spares: ClassVar[Sequence[str]] = ()
    """Strikes that are left out of its runs."""

    def __init__(self) -> None:
        self.now_ms = T0_MS
        self.fed = 0

    # -- what is run ----------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[str, ...]:
        """The topics that are fed. There may be more of them as time goes on."""
        return (f"{self.name}-in",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The topics that answer."""
        return (f"{self.name}-out",)

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables whose changelogs the judge reads."""
        return ()

    def declare(self, app: fs.App) -> None:
        """Enter topics, tables and agents into an app."""
        raise NotImplementedError

    def source(self, app: fs.App, name: str | None = None, **more: Any) -> fs.Topic[str, Any]:
        """An input topic as an app declares it."""
        return app.topic(
            name or self.inputs[0], key_type=str, value_type=Any, partitions=self.partitions,
            config=FOREVER, out_of_orderness=DISORDER_S, **more,
        )  # fmt: skip

    def sink(self, app: fs.App, name: str | None = None) -> fs.Topic[str, Any]:
        """An output topic."""
        return app.topic(
            name or self.outputs[0], key_type=str, value_type=Any, partitions=self.partitions,
            config=FOREVER,
        )  # fmt: skip

    # -- what it is fed -------------------------------------------------------------------------

    late = 0.0
    """The share of events that come later than they may."""

    def feed(self, rng: random.Random) -> list[Sent]:
        """The next inputs, in the order in which they are sent."""
        key, at_ms = f"k{rng.randrange(KEYS)}", self.instant(rng)
        return [Sent(self.inputs[0], key, self.body(rng), at_ms)]

    def body(self, rng: random.Random) -> Any:
        """The value of the next event."""
        return {"id": self.next_id(), "n": rng.randrange(100)}

    def next_id(self) -> str:
        """A name that no other event of this kind has."""
        self.fed += 1
        return f"i{self.fed}"

    def instant(self, rng: random.Random) -> int:
        """Event time of the next one: it moves on, with disorder, and now and then it is late."""
        self.now_ms += rng.randrange(20, 900)
        chance = rng.random()
        if chance < self.late:
            return self.now_ms - rng.randrange(DISORDER_MS, 12 * DISORDER_MS)
        if chance < 0.4:
            return self.now_ms - rng.randrange(DISORDER_MS)
        return self.now_ms

    def end_round(self) -> list[Sent]:
        """Events far ahead in every partition: what was open comes due."""
        self.now_ms += JUMP_MS
        return [
            Sent(
                topic, key_in(number, self.partitions), {"id": self.next_id(), "n": 0}, self.now_ms
            )
            for topic in self.inputs
            for number in range(self.partitions)
        ]

    # -- what must have come of it --------------------------------------------------------------

    @property
    def counts(self) -> Mapping[str, int]:
        """What the judge saw that is no fault, and worth telling."""
        return {}

    def judge(self, logs: Logs) -> list[Anomaly]:
        """Everything about the logs that is not as it must be."""
        raise NotImplementedError


def watermarked(records: Iterable[Record]) -> Iterator[tuple[Record, int]]:
    """Each record of one partition with the watermark that holds for it: its predecessors'."""
    top = -(2**62)
    for record in records:
        yield record, top - DISORDER_MS
        top = max(top, record.at_ms)


def watermark(*sources: Sequence[Record]) -> int:
    """What is over once all records of these sources are read: the least counts."""
    return min(max((r.at_ms for r in each), default=-(2**62)) - DISORDER_MS for each in sources)


def compare(
    what: str, wanted: Iterable[Any], found: Iterable[Any], invariant: str = "S7"
) -> list[Anomaly]:
    """Both hold the same, each as often; the order is no matter."""
    count: dict[str, int] = defaultdict(int)
    for each in wanted:
        count[repr(each)] += 1
    for each in found:
        count[repr(each)] -= 1
    return [
        Anomaly("loss", invariant, f"{what}: {each}")
        if number > 0
        else Anomaly("duplicate or phantom", invariant, f"{what}: {each}")
        for each, number in count.items()
        if number
    ]


def compare_in_order(
    what: str, wanted: Mapping[Any, Sequence[Any]], found: Mapping[Any, Sequence[Any]],
    invariant: str = "S7",
) -> list[Anomaly]:  # fmt: skip
    """Each key has the same, in the same order; else what is the first difference."""
    anomalies = []
    for key in sorted({*wanted, *found}, key=repr):
        one, two = list(wanted.get(key, ())), list(found.get(key, ()))
        if one == two:
            continue
        differences = compare(f"{what} {key}", one, two, invariant)
        for want, got in zip(one, two, strict=False):
            if not differences and want != got:
                evidence = f"{what} {key}: {got} where {want} belongs"
                differences.append(Anomaly("reorder", invariant, evidence))
        anomalies += differences
    return anomalies


def grouped(records: Iterable[Record]) -> dict[tuple[int, str | None], list[Any]]:
    """Values by partition and key, in order."""
    found: dict[tuple[int, str | None], list[Any]] = defaultdict(list)
    for record in records:
        found[record.partition, record.key].append(record.value)
    return found
