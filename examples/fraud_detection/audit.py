"""The independent reader: recomputes from the topics what the pipeline must have answered.

It reads with plain aiokafka (read_committed) and knows of flowstream only the names of topics. Run:
`python -m examples.fraud_detection.audit --broker HOST:PORT`; exit status 1 when it finds a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from . import rules
from .evaluate import Quality, quality, score_all
from .models import Alert, Profile, Scored, Transaction

APP = "fraud-detection"
READ_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Audit:
    """What the topics hold, and what is wrong with it."""

    taken: int = 0
    malformed: int = 0
    scored: int = 0
    dead: int = 0
    missing: int = 0
    duplicate: int = 0
    table: int = 0
    alerts: int = 0
    missed_small: int = 0
    false_spree: int = 0
    faults: list[str] = field(default_factory=list)
    by_reason: Counter[str] = field(default_factory=Counter)
    quality: Quality = field(default_factory=lambda: Quality(0, 0, 0))

    @property
    def passed(self) -> bool:
        """Whether every payment was scored exactly once, and nothing else is wrong."""
        return not self.faults

    def line(self) -> str:
        """The verdict in one line."""
        return (
            f"audit: in={self.taken} scored={self.scored} dead={self.dead}"
            f" missing={self.missing} duplicate={self.duplicate} table={self.table}"
        )


async def read_all(broker: str, topic: str) -> list[ConsumerRecord]:
    """Every committed record of a topic, partition by partition, in order."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        partitions = await partitions_of(consumer, [topic])
        if not partitions:
            return []
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: dict[TopicPartition, list[ConsumerRecord]] = {tp: [] for tp in partitions}
        async with asyncio.timeout(READ_TIMEOUT_S):
            for tp in partitions:
                while await consumer.position(tp) < ends[tp]:
                    batches = await consumer.getmany(timeout_ms=200)
                    for source, batch in batches.items():
                        records[source].extend(batch)
        return [record for tp in partitions for record in records[tp]]
    finally:
        await consumer.stop()


async def partitions_of(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> list[TopicPartition]:
    """The partitions of those topics that exist. (aiokafka asks only about subscribed ones.)"""
    cluster = await consumer._client.fetch_all_metadata()
    return [
        TopicPartition(topic, partition)
        for topic in topics
        for partition in sorted(cluster.partitions_for_topic(topic) or ())
    ]


def parsed(lines: Sequence[ConsumerRecord]) -> tuple[list[Transaction], set[tuple[int, int]]]:
    """The payments in the input topic, and where its malformed lines are."""
    payments, malformed = [], set()
    for record in lines:
        try:
            payments.append(Transaction.of_line((record.value or b"").decode()))
        except ValueError:
            malformed.add((record.partition, record.offset))
    return payments, malformed


def compare_scored(audit: Audit, payments: Sequence[Transaction], rows: Sequence[Scored]) -> None:
    """Every payment is scored once, in order per card, with the score that the model gives."""
    seen = Counter(row.transaction_id for row in rows)
    wanted = {row.transaction_id: row for row in score_all(payments)}
    audit.taken, audit.scored = len(payments), len(rows)
    audit.missing = sum(1 for id in wanted if id not in seen)
    audit.duplicate = sum(count - 1 for count in seen.values())
    if len(wanted) != len(payments):
        audit.faults.append(f"{len(payments) - len(wanted)} payments are in the input twice")
    if audit.missing or audit.duplicate:
        audit.faults.append(f"{audit.missing} missing and {audit.duplicate} duplicate scored rows")
    wrong = [row.transaction_id for row in rows if wanted.get(row.transaction_id) != row]
    if wrong:
        audit.faults.append(f"{len(wrong)} rows differ from the model, first {wrong[0]}")
    audit.quality = quality(rows)
    missed = [row for row in rows if row.is_fraud and not rules.is_alert(row.score)]
    false = [row for row in rows if not row.is_fraud and rules.is_alert(row.score)]
    audit.missed_small = sum(row.amount <= 250 for row in missed)
    audit.false_spree = sum(any(r.startswith("recent") for r in row.reasons) for row in false)


def compare_dead(
    audit: Audit, dead: Sequence[ConsumerRecord], malformed: set[tuple[int, int]]
) -> None:
    """Every malformed line is a dead letter once, and nothing else is."""
    sources = [source_of(record) for record in dead]
    audit.dead, audit.malformed = len(dead), len(malformed)
    if sorted(sources) != sorted(malformed):
        audit.faults.append(f"{audit.malformed} malformed lines but {audit.dead} dead letters")


def source_of(dead: ConsumerRecord) -> tuple[int, int]:
    """Partition and offset of the line that a dead letter stands for."""
    headers = dict(dead.headers)
    return int(headers["flowstream.partition"]), int(headers["flowstream.offset"])


def compare_alerts(audit: Audit, rows: Sequence[Scored], alerts: Sequence[Alert]) -> None:
    """An alert for each high score, once, and for nothing else."""
    wanted = Counter(row.transaction_id for row in rows if rules.is_alert(row.score))
    found = Counter(alert.transaction_id for alert in alerts)
    audit.alerts = len(alerts)
    if wanted != found:
        audit.faults.append(f"{len(alerts)} alerts for {sum(wanted.values())} high scores")
    for alert in alerts:
        audit.by_reason.update(reason.partition(":")[0] for reason in alert.reasons)


def compare_table(
    audit: Audit, changelog: Sequence[ConsumerRecord], payments: Sequence[Transaction]
) -> None:
    """The card-profile table, folded from its changelog, counts every payment of every card."""
    table: dict[bytes, bytes] = {}
    for record in changelog:
        if record.value is None:
            table.pop(record.key, None)
        else:
            table[record.key] = record.value
    counts = {
        key.decode(): Profile.model_validate_json(value).payments for key, value in table.items()
    }
    audit.table = sum(counts.values())
    if counts != Counter(payment.card for payment in payments):
        audit.faults.append(f"the card-profile table counts {audit.table} payments")


async def run(broker: str, *, expected: int | None = None) -> Audit:
    """Read everything and compare; `expected` is how many well-formed rows were fed."""
    lines = await read_all(broker, "card-lines")
    rows = [Scored.model_validate_json(r.value) for r in await read_all(broker, "scored")]
    alerts = [Alert.model_validate_json(r.value) for r in await read_all(broker, "alerts")]
    dead = await read_all(broker, f"{APP}-dead-letters")
    changelog = await read_all(broker, f"{APP}-card-profiles-changelog")
    audit = Audit()
    payments, malformed = parsed(lines)
    compare_scored(audit, payments, rows)
    compare_dead(audit, dead, malformed)
    compare_alerts(audit, rows, alerts)
    compare_table(audit, changelog, payments)
    if expected is not None and expected != audit.taken:
        audit.faults.append(f"{expected} rows were fed but {audit.taken} are in the topic")
    return audit


async def main() -> None:
    """Audit a broker's topics."""
    parser = argparse.ArgumentParser(description="audit the fraud pipeline from its topics")
    parser.add_argument("--broker", required=True, help="HOST:PORT")
    audit = await run(parser.parse_args().broker)
    for fault in audit.faults:
        print(f"fault: {fault}")
    print(audit.line())
    sys.exit(0 if audit.passed else 1)


if __name__ == "__main__":
    asyncio.run(main())
