"""What a broker node consists of: its deciding cores, its logs and its doors, in one value that
handlers receive.

Lives here: the parts and how to find a log among them. It must not know requests, connections or
how effects are carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from flowstream.broker.config import BrokerConfig
from flowstream.broker.doors import Random, Storage
from flowstream.broker.effects import Effect
from flowstream.broker.fetch_sessions import FetchSessions
from flowstream.broker.groups.coordinator import GroupCoordinator
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.upkeep import Upkeep
from flowstream.broker.memory import Memory
from flowstream.broker.metadata.image import Image
from flowstream.broker.quotas import Quotas
from flowstream.broker.transactions.coordinator import TransactionCoordinator
from flowstream.broker.types import LOCAL, Instant, Session, TopicPartition
from flowstream.broker.waiting import Waiting

if TYPE_CHECKING:
    from flowstream.broker.security.authorizer import Authorizer
    from flowstream.broker.security.sasl import Sasl

METADATA_LOG = TopicPartition("__cluster_metadata", 0)
OFFSETS_TOPIC = "__consumer_offsets"
TRANSACTIONS_TOPIC = "__transaction_state"
INTERNAL_TOPICS = frozenset({OFFSETS_TOPIC, TRANSACTIONS_TOPIC})


class Endpoint(NamedTuple):
    """An address that clients are told; `protocol` is Kafka's number of the security protocol."""

    host: str
    port: int
    protocol: int = 0


@dataclass(slots=True)
class Address:
    """Who this node is and where clients reach it. `port` is known once the listener is bound."""

    node_id: int
    cluster_id: str
    directory_id: bytes
    host: str
    port: int = 0
    rack: str | None = None
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    """Where clients of each listener go on; those of no listener here go to `host` and `port`."""

    def seen_by(self, session: Session) -> Endpoint:
        """Where a client that came by the listener of `session` finds this node."""
        return self.endpoints.get(session.listener) or Endpoint(self.host, self.port)

    def known(self) -> Mapping[str, Endpoint]:
        """Where this node listens, by the names of the listeners."""
        return self.endpoints or {LOCAL.listener: self.seen_by(LOCAL)}


@dataclass(slots=True)
class Logs:
    """Every partition's log of this node, by name and by topic id. `__cluster_metadata-0` is not
    among them.
    """

    by_name: dict[TopicPartition, PartitionLog] = field(default_factory=dict)
    by_id: dict[tuple[bytes, int], PartitionLog] = field(default_factory=dict)
    partitions: dict[str, int] = field(default_factory=dict)
    """Number of partitions of each topic that has logs here."""
    prepared: dict[tuple[bytes, int], PartitionLog] = field(default_factory=dict)
    """Logs of partitions that are about to be made, by topic id: nobody sees them yet."""

    def add(self, log: PartitionLog) -> None:
        """Serve `log` from now on."""
        assert log.name not in self.by_name, f"two logs of {log.name}"
        self.by_name[log.name] = log
        self.by_id[log.topic_id, log.name.partition] = log
        topic = log.name.topic
        self.partitions[topic] = self.partitions.get(topic, 0) + 1

    def remove(self, name: TopicPartition) -> PartitionLog:
        """Stop serving the log of `name`."""
        log = self.by_name.pop(name)
        del self.by_id[log.topic_id, name.partition]
        self.partitions[name.topic] -= 1
        if not self.partitions[name.topic]:
            del self.partitions[name.topic]
        return log

    def find(self, topic: str, topic_id: bytes, partition: int) -> PartitionLog | None:
        """The log of a partition named in a request: by name, or by id where newer versions send
        only that.
        """
        if topic:
            return self.by_name.get(TopicPartition(topic, partition))
        return self.by_id.get((topic_id, partition))


@dataclass(slots=True)
class Cores:
    """All that a handler may decide with. Durable state changes only through `coordination`."""

    config: BrokerConfig
    """As changed while the broker ran; replaced as a whole by every change, so read it here."""
    given: BrokerConfig
    """As given at the start."""
    storage: Storage
    rng: Random
    address: Address
    image: Image
    metadata_log: PartitionLog
    groups: GroupCoordinator
    transactions: TransactionCoordinator
    waiting: Waiting
    fetch_sessions: FetchSessions
    logs: Logs = field(default_factory=Logs)
    quotas: Quotas = field(default_factory=Quotas)
    memory: Memory = field(default_factory=Memory)
    """What connections hold; the driver keeps the account and bounds it."""
    fsync: bool = True
    """Durability: below the high watermark all is synced. False: only in the page cache (`os`)."""
    authorizer: Authorizer | None = None
    """Who may do what; None where no security is configured."""
    sasl: Sasl | None = None
    """How clients log in; None where no listener asks for it."""
    changing: dict[str, list[Callable[[Instant], list[Effect]]]] = field(default_factory=dict)
    """The folded names of topics whose logs are being prepared, or whose deletion is being written,
    and who goes on after that.
    """
    is_ending: bool = False
    """No request is taken any more, and none that is in parts goes on."""
    checkpoint_at: Instant | None = None
    """When recovery points are written next."""
    checkpointed: dict[str, bytes] = field(default_factory=dict)
    """What the checkpoint files hold that are written from time to time."""
    upkeep: Upkeep = field(init=False)

    def __post_init__(self) -> None:
        """The logs' upkeep follows the logs, and waiting requests the memory there is."""
        self.waiting.has_room = self.memory.has_room
        self.upkeep = Upkeep(self.logs.by_name, fsync=self.fsync)
