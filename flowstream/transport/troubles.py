"""Fetches that are answered with errors: how long to wait before the next one, and when there is no
use in it. aiokafka asks again at once, hundreds of times a second.

Pure: counts answers. Knows no connection and no position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any

from flowstream.transport.cluster import backoffs
from flowstream.transport.types import TopicPartition
from flowstream.wire.error_codes import ErrorCode

STORAGE_ANSWERS = 20
"""So often in a row a broker may say that it cannot read its disk: some seven seconds, in which
another replica takes over if there is one. A damaged segment is damaged for good.
"""
TOLD_OTHERWISE = frozenset(
    (ErrorCode.NONE, ErrorCode.OFFSET_OUT_OF_RANGE, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
)
"""Nothing to wait for, or an error that whoever takes the records gets before the next fetch."""


class Troubles:
    """What the answers of late say."""

    def __init__(self) -> None:
        self._pauses: dict[Hashable, Iterator[float]] = {}
        self._unread: Counter[TopicPartition] = Counter()

    def met(self, node: Hashable, answer: Any) -> float:
        """A node answers: for how many seconds it is not to be asked again."""
        is_troubled = False
        for topic, partitions in answer.topics:
            for number, code, *_ in partitions:
                is_troubled = is_troubled or code not in TOLD_OTHERWISE
                if code == ErrorCode.KAFKA_STORAGE_ERROR:
                    self._unread[TopicPartition(topic, number)] += 1
                else:
                    self.forget(TopicPartition(topic, number))
        if is_troubled:
            return next(self._pauses.setdefault(node, backoffs()))
        self._pauses.pop(node, None)
        return 0.0

    def forget(self, tp: TopicPartition) -> None:
        """The partition is read again, or no longer."""
        self._unread.pop(tp, None)

    @property
    def damaged(self) -> TopicPartition | None:
        """A partition that its broker cannot read, and will not."""
        return next((tp for tp, times in self._unread.items() if times >= STORAGE_ANSWERS), None)
