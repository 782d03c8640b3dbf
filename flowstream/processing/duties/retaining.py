"""Records older than their topic's retention: the broker may delete them before they are read.

Retention goes by the records' times, so that old events that are filled in late have hardly a life.
A worker that meets such records, or writes them, says so once per topic. Shell: it asks the
cluster, and warns.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from flowstream.transport.admin import Admin
from flowstream.transport.batches import PendingBatch
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.worker")

REMEDY = "`flowstream configs alter topic {} --set retention.ms=-1`"
DAY_MS = 86_400_000


async def retentions(topics: Iterable[str], admin: Admin) -> dict[str, int]:
    """In ms, by topic; those that keep all, or that we may not look at, are left out."""
    spans = await admin.topic_settings(topics, "retention.ms")
    bounded = {name: int(span) for name, span in spans.items() if int(span) >= 0}
    policies = await admin.topic_settings(bounded, "cleanup.policy")
    return {name: span for name, span in bounded.items() if "delete" in policies.get(name, "")}


class OldRecords:
    """Which topics may still be warned of. Each is once, also when the plan is made anew."""

    def __init__(self) -> None:
        self._spans: dict[str, int] = {}
        self._told: set[str] = set()
        self._written: dict[str, int] = {}

    def bound(
        self, spans: Mapping[str, int], ours: Iterable[str], written: Collection[str] = ()
    ) -> None:
        """The retentions of the topics that are read, and of those that are `written`. Those of our
        own should have none: records in them have the times of the events that they came from.
        """
        for name in ours:
            if name in spans and name not in self._told:
                self._told.add(name)
                log.warning(
                    "topic %s is emptied behind this app, and by the broker after %s, read or not"
                    " (retention.ms): %s", name, _span(spans[name]), REMEDY.format(name),
                )  # fmt: skip
        self._spans = {name: span for name, span in spans.items() if name not in self._told}
        self._written = {name: self._spans[name] for name in written if name in self._spans}

    def met(self, topic: str, at_ms: int, now_ms: int) -> None:
        """A record of this time was fetched; below 0 it has none, and none is held against it."""
        span = self._spans.get(topic)
        if span is None or at_ms < 0 or now_ms - at_ms <= span:
            return
        del self._spans[topic]
        self._told.add(topic)
        log.warning(
            "topic %s holds records older than it keeps them (retention.ms, %s): the broker may"
            " delete them before they are read. For events of the past: %s",
            topic, _span(span), REMEDY.format(topic),
        )  # fmt: skip

    def sent(self, batches: Mapping[TopicPartition, Sequence[PendingBatch]], now_ms: int) -> None:
        """What an epoch writes: looked at once per partition and commit."""
        written = self._written
        for tp, batch in batches.items() if written else ():
            span, at_ms = written.get(tp.topic), batch[0].first_ms
            if span is None or at_ms < 0 or now_ms - at_ms <= span:
                continue
            del written[tp.topic]
            self._told.add(tp.topic)
            log.warning(
                "results for topic %s are older than it keeps them (retention.ms, %s), as their"
                " events are: the broker may delete them at once. To keep them: %s",
                tp.topic, _span(span), REMEDY.format(tp.topic),
            )  # fmt: skip


def _span(ms: int) -> str:
    """A span for people.

    >>> _span(7 * DAY_MS), _span(3_600_000), _span(1500)
    ('7 days', '60 minutes', '1500 ms')
    """
    for unit_ms, name in ((DAY_MS, "days"), (60_000, "minutes")):
        if ms >= 2 * unit_ms and ms % unit_ms == 0:
            return f"{ms // unit_ms} {name}"
    return f"{ms} ms"
