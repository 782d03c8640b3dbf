"""The demo's eyes: a read_committed reader of the results that counts them as they come.

It reads only topics, with plain aiokafka, and survives the death of the broker.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from . import rules
from .audit import APP, partitions_of
from .progress import Progress

RESULTS = ("scored", "alerts", f"{APP}-dead-letters")
TRANSACTIONS = "__transaction_state"
SILENCE_S = 4.0  # after this long without a record the reader connects anew
STATE_AT = (
    16  # of a transaction's record: version i16, id i64, epoch i16, timeout i32, then its state
)
COMPLETE_COMMIT, COMPLETE_ABORT = 4, 5


class Monitor:
    """Counts committed results into a Progress; remembers how far it has read."""

    def __init__(self, broker: str, progress: Progress) -> None:
        self._broker = broker
        self._progress = progress
        self._positions: dict[TopicPartition, int] = {}

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(RESULTS, "read_committed"))
            tasks.create_task(self._follow((TRANSACTIONS,), "read_uncommitted"))

    async def _follow(self, topics: Iterable[str], isolation: str) -> None:
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._broker,
                isolation_level=isolation,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                exclude_internal_topics=False,
                metadata_max_age_ms=1000,
                request_timeout_ms=5000,
                retry_backoff_ms=200,
            )
            try:
                await consumer.start()
                partitions = await partitions_of(consumer, topics)
                if {tp.topic for tp in partitions} == set(topics):
                    consumer.assign(partitions)
                    for tp in partitions:
                        consumer.seek(tp, self._positions.get(tp, 0))
                    await self._read(consumer)
            except (KafkaError, OSError, TimeoutError):
                pass  # the broker is being killed on purpose
            finally:
                await consumer.stop()
            await asyncio.sleep(0.3)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        """Count until nothing comes for a while."""
        while True:
            silence = asyncio.get_running_loop().time() + SILENCE_S
            batches = await consumer.getmany(timeout_ms=int(SILENCE_S * 1000))
            for tp, records in batches.items():
                self._positions[tp] = records[-1].offset + 1
                for record in records:
                    self._count(tp.topic, record)
            if not batches and asyncio.get_running_loop().time() >= silence:
                return

    def _count(self, topic: str, record: ConsumerRecord) -> None:
        progress = self._progress
        if topic == "scored":
            progress.scored += 1
            progress.suspicious += rules.is_alert(json.loads(record.value)["score"])
        elif topic == "alerts":
            progress.alerts += 1
            alert = json.loads(record.value)
            reasons = ", ".join(alert["reasons"][:3])
            progress.last_alert = f"{alert['card']}  {alert['amount']:.2f}  {reasons}"
        elif topic == TRANSACTIONS:
            state = record.value[STATE_AT] if record.value is not None else None
            progress.commits += state == COMPLETE_COMMIT
            progress.aborts += state == COMPLETE_ABORT
        else:
            progress.dead += 1
