"""What a kind of app brings to the simulator, and what is seen of it in the end."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import flowstream as fs


class Feed(NamedTuple):
    """A record to put in: topic, partition, key, value, timestamp in ms."""

    topic: str
    partition: int
    key: str
    value: str | None
    at_ms: int


class Record(NamedTuple):
    """A committed record."""

    key: str
    value: str | None
    at_ms: int


Logs = Mapping[str, list[list[Record]]]
"""Committed records by topic and partition."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What others see when all is over."""

    logs: Logs
    rows: Mapping[str, list[dict[bytes, bytes]]]
    """By table and partition: the fold of its changelog."""

    def of(self, topic: str) -> list[Record]:
        """All records of a topic, partition by partition."""
        return [record for part in self.logs.get(topic, ()) for record in part]

    def by_key(self, topic: str) -> dict[str, list[str | None]]:
        """The values of each key, in order."""
        found = defaultdict(list)
        for record in self.of(topic):
            found[record.key].append(record.value)
        return dict(found)

    def table(self, name: str) -> dict[str, str]:
        """A plain table of texts."""
        rows: dict[str, str] = {}
        for part in self.rows[name]:
            for key, value in part.items():
                if not key.startswith(b"@"):
                    rows[key.decode()] = value.decode()
        return rows


@dataclass(slots=True)
class Scenario:
    """One kind of app with its inputs. `declare` makes the app anew for every worker, as every
    process has its own.
    """

    kind: str
    declare: Callable[[dict[str, float]], fs.App]
    feeds: list[Feed]
    judge: Callable[[Seen], Iterator[str]]
    outputs: tuple[str, ...]
    settings: dict[str, float] = field(default_factory=dict)
    quiet_s: float = 0.0
    """How long to wait after everything is consumed: for what comes due by a clock."""
    partitions: int = 2
    """Of a topic that the app does not declare, which is made as its first record comes."""
    looks_around: bool = False
    """Whether workers look for topics that come while they run."""
    is_fenced: bool = True
    """Whether nothing stays that a worker writes once another one has its place."""


def link(before: str, id: str) -> str:
    """One step of a hash chain: loss, repeat and reorder all show."""
    return hashlib.sha256(f"{before}{id}".encode()).hexdigest()[:12]


def differences(what: str, expected: object, found: object) -> Iterator[str]:
    """A problem if two things differ, with what is different where they are dicts or lists."""
    if expected == found:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys(), key=str):
            if expected.get(key) != found.get(key):
                yield f"{what} {key!r}: expected {expected.get(key)!r}, found {found.get(key)!r}"
        return
    if isinstance(expected, list) and isinstance(found, list):
        missing = [each for each in expected if expected.count(each) > found.count(each)]
        extra = [each for each in found if found.count(each) > expected.count(each)]
        yield f"{what}: missing {missing[:5]!r}, extra {extra[:5]!r}"
        return
    yield f"{what}: expected {expected!r}, found {found!r}"
