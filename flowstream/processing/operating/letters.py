"""What a dead letter says, and whether it may be sent back: to whom, and over what.

Pure. Every refusal says what to do with the letter instead.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from flowstream.errors import FlowstreamError
from flowstream.processing.events.dead_letters import LEFT_OUT, PREFIX, is_cut, is_of_late
from flowstream.processing.events.replies import MOST_DIGITS
from flowstream.transport.types import LogRecord, TopicPartition

MOST_OFFSET_DIGITS = 19


class Keyed(NamedTuple):
    """A key of a partition."""

    tp: TopicPartition
    key: bytes


class BadLetter(FlowstreamError):
    """A record of the dead-letter topic that does not say where it came from."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: where it lies, the record it was, and why it is here."""

    tp: TopicPartition
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...]
    told: Mapping[str, str]
    """agent, side (where it joins), topic, partition, offset, error, cause, traceback, left-out."""

    @property
    def where(self) -> str:
        """Where it lies, for people."""
        return f"{self.tp.topic}-{self.tp.partition} offset {self.offset}"

    @property
    def spot(self) -> str:
        """Where it lies, for commands."""
        return f"{self.tp.partition}:{self.offset}"

    @property
    def size(self) -> int:
        """The bytes of its record, roughly."""
        return len(self.key or b"") + len(self.value or b"")

    def slim(self) -> Letter:
        """Without what takes memory and decides nothing: many may be dealt with at once."""
        told = {name: said for name, said in self.told.items() if name != "traceback"}
        return replace(self, value=None, headers=(), told=told)

    @property
    def source_offset(self) -> int:
        """Where it was in the partition that it came from; -1 when it does not say."""
        told = self.told.get("offset", "")
        return int(told) if told.isdecimal() and len(told) <= MOST_OFFSET_DIGITS else -1

    @property
    def origin(self) -> TopicPartition:
        """The topic and partition that it came from; BadLetter when it does not say."""
        topic, partition = self.told.get("topic"), self.told.get("partition", "")
        if not topic or not partition.isdecimal() or len(partition) > MOST_DIGITS:
            raise BadLetter(
                f"{self.where} is no dead letter of ours: it does not say where it came from."
                f" Discard it ({self.spot})"
            )
        return TopicPartition(topic, int(partition))


def letter_of(tp: TopicPartition, record: LogRecord) -> Letter:
    """A record of a dead-letter topic, read."""
    told = {
        name.removeprefix(PREFIX): (value or b"").decode("utf-8", "replace")
        for name, value in record.headers
        if name.startswith(PREFIX)
    }
    own = tuple((name, value) for name, value in record.headers if not name.startswith(PREFIX))
    return Letter(tp, record.offset, record.key, record.value, record.timestamp, own, told)


def addressee(
    letter: Letter, topics: Container[str], agents: Container[str] | None,
    renamed: Mapping[str, str],
) -> str:  # fmt: skip
    """The agent that gets a letter back; BadLetter, with the remedy, when there is none."""
    or_discard = f"discard it ({letter.spot})"
    if letter.origin.topic not in topics:
        raise BadLetter(
            f"{letter.where} came from {letter.origin.topic!r}, which is no topic (windows, timers"
            f" and joins are inside the app): {or_discard}"
        )
    if is_of_late(letter.told):
        raise BadLetter(
            f"{letter.where} came too late for its windows, and would again; whatever else agent"
            f" {letter.told.get('agent')!r} does with it is done: {or_discard}"
        )
    if is_cut(letter.told):
        raise BadLetter(
            f"{letter.where} is not all of the record, which was too large for the dead letters"
            f" (it lacks {letter.told[LEFT_OUT]}): as long as its topic keeps it, it is in"
            f" {letter.origin.topic}-{letter.origin.partition} at offset {letter.source_offset}."
            f" Take it from there, and {or_discard}"
        )
    named = letter.told.get("agent", "")
    agent = renamed.get(named, named)
    if not agent:
        raise BadLetter(
            f"{letter.where} does not say which agent failed on it: name the one that gets it,"
            f" --to NAME, or {or_discard}"
        )
    if agents is not None and agent not in agents:
        old = "" if not named or named != agent else f"{named}="
        raise BadLetter(
            f"{letter.where} is for agent {agent!r}, which the app does not have: if it has another"
            f" name now, --to {old}NAME; else {or_discard}"
        )
    return agent


def refuse_idle(letters: Sequence[Letter], renamed: Mapping[str, str]) -> None:
    """BadLetter for a new name that none of these letters would go by."""
    named = sorted({letter.told.get("agent", "") for letter in letters})
    for old, new in renamed.items() if letters else ():
        if old not in named:
            whose = f"is of agent {old!r}" if old else "is without the name of its agent"
            raise BadLetter(
                f"none of these letters {whose}, so that --to would do nothing with {new!r}: they"
                f" are of {', '.join(map(repr, named))}, and --to OLD=NEW gives those of OLD to NEW"
            )


def chosen(letters: Sequence[Letter], spots: Collection[str]) -> list[Letter]:
    """Those of these letters that lie at PARTITION:OFFSET; BadLetter when one is not there."""
    places = {letter.spot: letter for letter in letters}
    if missing := [spot for spot in dict.fromkeys(spots) if spot not in places]:
        raise BadLetter(
            f"no dead letter waits at {', '.join(missing)}: `flowstream dlq list` has all"
        )
    return [letter for letter in letters if letter.spot in spots]


def refuse_outlived(letters: Sequence[Letter], newest: Mapping[Keyed, int]) -> None:
    """BadLetter for one whose key has a newer record in its topic, unless that is sent back behind
    it. `newest`: of keys in compacted topics.
    """
    behind: set[tuple[TopicPartition, int | None]] = set()
    for letter in reversed(letters):
        key = None if letter.key is None else Keyed(letter.origin, letter.key)
        newer = None if key is None else newest.get(key)
        is_outlived = newer is not None and newer > letter.source_offset
        if is_outlived and (letter.origin, newer) not in behind:
            raise BadLetter(
                f"{letter.where} came from {letter.origin.topic!r}, which is compacted, and its key"
                f" has a newer record there (partition {letter.origin.partition}, offset {newer}):"
                " sent back, the old one would be the newest, which is all that compaction keeps."
                f" Discard it ({letter.spot}), or send it back all the same with --even-if-newer"
            )
        behind.add((letter.origin, letter.source_offset))
