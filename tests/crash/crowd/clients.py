"""librdkafka for the crowd: clients that outlive a dead broker, a sender that notes what became of
every record, and partitions read to their end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
)

from tests.checkers.history import Operation, Outcome, Partition, Send

log = logging.getLogger("tests.crowd")
BOUND_S = 30.0
"""V1, T10: all that is asked for is answered, and every transaction over, within this time."""
ANSWER_S = 5.0
RETRY_S = 0.1


class Calm:
    """Since when nothing is killed any more: what is asked for in the midst of it may take as long
    as it goes on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.since: float | None = None
        self._clock = clock

    def begin(self) -> None:
        """From now on the bounds count."""
        self.since = self._clock()

    def end(self) -> None:
        """Things die again."""
        self.since = None

    def is_over(self, began: float) -> bool:
        """Whether what began then has taken longer than it may."""
        return self.since is not None and self._clock() - max(began, self.since) > BOUND_S


CALM = Calm()


class Stalled(Exception):
    """Something took longer than its bound."""


class Refused(Exception):
    """The broker ended a session that had done nothing wrong."""


class Forgotten(Refused):
    """A retry after a restart is out of order: the log no longer tells of the batch itself."""


def settings(broker: str) -> dict[str, Any]:
    """For every client: soon back when the broker is."""
    return {
        "bootstrap.servers": broker,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
        "retry.backoff.ms": 50,
        "allow.auto.create.topics": False,
        "logger": log,
    }


def administrator(broker: str) -> AdminClient:
    """An admin client."""
    mine = settings(broker)
    del mine["allow.auto.create.topics"]
    return AdminClient(mine)


def insist(ask: Callable[[], Any], *fine: int) -> Any:
    """Ask until there is an answer; the error codes in `fine` are answers too. Raises Stalled."""
    began = time.monotonic()
    while True:
        try:
            return ask()
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() in fine:
                return None
            if CALM.is_over(began):
                raise Stalled(f"{error} after {BOUND_S:.0f} s") from exception
            time.sleep(RETRY_S)


def create(admin: AdminClient, topic: str, partitions: int, config: Mapping[str, str]) -> None:
    """Create a topic, whatever dies meanwhile; an earlier try may have worked."""
    new = NewTopic(topic, partitions, 1, config=dict(config))

    def ask() -> object:
        return admin.create_topics([new], request_timeout=ANSWER_S)[topic].result()

    insist(ask, KafkaError.TOPIC_ALREADY_EXISTS)


def delete(admin: AdminClient, topic: str) -> None:
    """Delete a topic, whatever dies meanwhile."""

    def ask() -> object:
        return admin.delete_topics([topic], request_timeout=ANSWER_S)[topic].result()

    insist(ask, KafkaError.UNKNOWN_TOPIC_OR_PART)


def configure(admin: AdminClient, topic: str, name: str, value: str) -> None:
    """Set a configuration of a topic that somebody makes, sooner or later."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])

    def ask() -> object:
        return admin.incremental_alter_configs([resource])[resource].result()

    insist(ask)


class Sender:
    """An idempotent producer that notes the fate of every record in a history."""

    def __init__(self, broker: str, session: str, history: list[Operation], **more: Any) -> None:
        self.session = session
        self.history = history
        mine = {"enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 300_000}
        self.producer = Producer(settings(broker) | mine | more)
        self.refused: KafkaError | None = None
        self._pending: dict[str, Send] = {}
        self._unplaced = -1
        """What the client would say of the next record of a batch without an offset."""
        self._transactional = "transactional.id" in more

    def send(
        self,
        partition: Partition,
        value: str,
        *,
        key: str | None = None,
        tombstone: bool = False,
        transaction: str | None = None,
        padding: int = 0,
        timestamp: int = 0,
    ) -> None:
        """Send a record that `value` names in the history. Raises Refused."""
        self._check()
        unknown = Send(self.session, partition, value, Outcome.UNKNOWN, None, transaction)
        self._pending[value] = unknown
        self._ask(
            lambda: self.producer.produce(
                partition.topic,
                None if tombstone else value.encode() + b"." * padding,
                None if key is None else key.encode(),
                partition=partition.partition,
                timestamp=timestamp,
                on_delivery=lambda error, message: self._delivered(value, error, message),
            )
        )
        self._ask(lambda: self.producer.poll(0))

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Call the client, which raises in its own ways once the session is over. Raises
        Refused.
        """
        try:
            return call()
        except (KafkaException, SystemError) as exception:
            # A callback's error in the midst of a call becomes a SystemError with a cause.
            told = exception if isinstance(exception, KafkaException) else exception.__cause__
            error = told.args[0] if isinstance(told, KafkaException) else None
            ended = error is not None and (error.fatal() or error.code() == KafkaError._FATAL)
            if self._transactional or not ended:
                raise
            self.refused = error
            raise self._refusal() from exception

    def _delivered(self, value: str, error: KafkaError | None, message: Message) -> None:
        sent = self._pending.pop(value, None)
        if sent is None:
            return
        outcome, offset = Outcome.UNKNOWN, None
        if error is None:
            offset = self._place(message.offset())
            # Without an offset it was written, but retention may have taken it since.
            outcome = Outcome.UNKNOWN if offset is None else Outcome.OK
        elif error is not None and error.fatal() and not self._transactional:
            self.refused = error
        self.history.append(
            Send(sent.session, sent.partition, value, outcome, offset, sent.transaction)
        )

    def _place(self, told: int | None) -> int | None:
        """The offset, None when the client does not know it: it counts on from -1 for the records
        of a batch whose retry was a duplicate.
        """
        if told is None or told < 0:
            self._unplaced = 0
            return None
        if told == self._unplaced:
            self._unplaced += 1
            return None
        self._unplaced = -1
        return told

    def settle(self) -> None:
        """Wait for what is under way. Raises Stalled and Refused."""
        began = time.monotonic()
        while self._ask(lambda: self.producer.flush(ANSWER_S)):
            if CALM.is_over(began):
                raise Stalled(f"{self.session}: {len(self.producer)} records without an answer")
        self._check()

    def _check(self) -> None:
        """P1: a session ends when it wants to. A callback of the client cannot raise."""
        if self.refused is not None:
            raise self._refusal()

    def _refusal(self) -> Refused:
        assert self.refused is not None
        codes = (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError._FATAL)
        cause = Forgotten if self.refused.code() in codes else Refused
        return cause(f"{self.session}: {self.refused}")

    def close(self) -> None:
        """Forget the producer; what has no answer may have happened."""
        self.history.extend(self._pending.values())
        self._pending.clear()


class Offsets(NamedTuple):
    """Where a partition begins and ends, for either kind of reader."""

    start: int
    stable: int
    end: int


def offsets_of(admin: AdminClient, partition: Partition) -> Offsets:
    """The offsets as they are now. Raises KafkaException."""
    at = TopicPartition(*partition)
    committed, either = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED
    asked = (
        (OffsetSpec.earliest(), either),
        (OffsetSpec.latest(), committed),
        (OffsetSpec.latest(), either),
    )
    found = [
        admin.list_offsets({at: spec}, isolation_level=level, request_timeout=ANSWER_S)[at]
        for spec, level in asked
    ]
    offsets = [each.result().offset for each in found]
    if min(offsets) < 0:
        raise KafkaException(KafkaError(KafkaError._NO_OFFSET))  # it says so without an error
    return Offsets(*offsets)


def quiet_end(admin: AdminClient, partition: Partition) -> Offsets:
    """The offsets once no transaction is open any more (T10). Raises Stalled."""
    began = time.monotonic()
    while True:
        try:
            found: Offsets = insist(lambda: offsets_of(admin, partition))
        except Stalled as stalled:
            raise Stalled(f"{partition}: {stalled}") from stalled
        if found.stable == found.end:
            return found
        if CALM.is_over(began):
            raise Stalled(f"{partition} has an open transaction for {BOUND_S:.0f} s: {found}")
        time.sleep(RETRY_S)


class Record(NamedTuple):
    """What a reader saw."""

    offset: int
    key: str
    value: str | None


def record_of(message: Message) -> Record:
    """A message without its padding."""
    key, value = message.key(), message.value()
    return Record(
        message.offset() or 0,
        (key or b"").decode(),
        None if value is None else value.rstrip(b".").decode(),
    )


class Reader:
    """Follows one partition from its start on."""

    def __init__(
        self, broker: str, partition: Partition, *, committed: bool, reset: str = "error"
    ) -> None:
        self.partition = partition
        self.end = 0
        self._consumer = Consumer(
            settings(broker)
            | {
                "group.id": "unused",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": reset,
                "isolation.level": "read_committed" if committed else "read_uncommitted",
            }
        )
        self._reset = reset
        # A number is an offset that may be gone; a word asks where the log begins.
        self._consumer.assign([TopicPartition(*partition, -2)])

    def take(self) -> list[Record]:
        """What comes next, if anything does. Raises Refused."""
        records = []
        for message in self._consumer.consume(200, 0.1):
            error = message.error()
            if error is None:
                records.append(record_of(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self.end = max(self.end, message.offset() or 0)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise Refused(f"a reader of {self.partition} lost its position: {error}")
        return records

    def drain(self, end: int) -> list[Record]:
        """Everything up to `end`. Raises Stalled."""
        began = time.monotonic()
        records: list[Record] = []
        while self.end < end:
            records += self.take()
            if CALM.is_over(began):
                raise Stalled(f"a reader of {self.partition} is at {self.end} of {end}")
        return records

    def close(self) -> None:
        """Let go of it."""
        self._consumer.close()


def read_all(
    broker: str, partition: Partition, end: int, *, committed: bool, reset: str = "error"
) -> list[Record]:
    """A partition from its start to `end`, by a reader of its own."""
    reader = Reader(broker, partition, committed=committed, reset=reset)
    try:
        return reader.drain(end)
    finally:
        reader.close()


def pairs(records: Iterable[Record]) -> tuple[tuple[int, str], ...]:
    """Offsets and values, as a history has them."""
    return tuple((record.offset, record.value or "") for record in records)
