"""A cluster: where its nodes, leaders and coordinators are, what it can do, and requests to them.

Finding places is retried here; the meaning of answers is the caller's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaError

from flowstream.clock import monotonic_ms
from flowstream.transport.client import Client
from flowstream.transport.connection import (
    Security,
    call,
    close_lane,
    open_connection,
    pick_version,
)
from flowstream.transport.errors import (
    BrokerUnreachable,
    ConnectionLost,
    RequestRefused,
    TransportError,
    UnknownTopic,
    error_name,
)
from flowstream.transport.outage import Outage
from flowstream.transport.types import TopicPartition
from flowstream.wire.api import API, ApiKey
from flowstream.wire.error_codes import ErrorCode, retriable
from flowstream.wire.messages.api_versions import ApiVersionsRequest
from flowstream.wire.messages.find_coordinator import FindCoordinatorRequest
from flowstream.wire.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
)

log = logging.getLogger("flowstream.cluster")

PARTITIONS_MAX_AGE_MS = 60_000
"""After this a topic is asked again how many partitions it has: it may have grown."""
FIRST_BACKOFF_S = 0.005
LONGEST_BACKOFF_S = 0.5
CANCEL_GRACE_S = 1.0
DEFAULT_LANE: Hashable = ConnectionGroup.DEFAULT


class Coordinator(NamedTuple):
    """The coordinator of a group or of a transactional id, wherever it is."""

    kind: Literal["group", "transaction"]
    key: str


class Leader(NamedTuple):
    """The leader of a partition, wherever it is."""

    tp: TopicPartition


Destination = int | Coordinator | Leader | None
"""A node id, a role, or None for any node."""


def backoffs() -> Iterator[float]:
    """Seconds to wait before the next try: short at first, as a transaction that ends or a leader
    that moves takes milliseconds, then doubling.
    """
    pause = FIRST_BACKOFF_S
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_BACKOFF_S)


Build = Callable[[int], object]
"""Makes the request message of a version."""


def same(request: object) -> Build:
    """The same message in every version."""
    return lambda _: request


class Cluster:
    """One client of one cluster. All requests of a worker but the consumer's go through it."""

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str = "flowstream",
        security: Security | None = None,
        request_timeout_ms: int = 30_000,
        max_idle_ms: int = 540_000,
    ) -> None:
        self.bootstrap = bootstrap
        self.client_id = client_id
        self.security = security or Security()
        self.request_timeout_ms = request_timeout_ms
        self.max_idle_ms = max_idle_ms
        self.features: Mapping[str, int] = {}
        """Finalized features and their levels (KIP-584)."""
        self._outage = Outage()
        self._client: Client | None = None
        self._coordinators: dict[Coordinator, int] = {}
        self._leaders: dict[TopicPartition, int] = {}
        self._partitions: dict[str, int] = {}
        self._asked_ms: dict[str, int] = {}

    async def connect(self) -> None:
        """Find the cluster and learn its features; BrokerUnreachable when nothing answers."""
        self._client = await self._bootstrap(self.bootstrap)
        try:
            await self.refresh_features()
        except TransportError as error:
            await self.close()
            raise _unreachable(
                self.bootstrap, f" ({error})", protocol=self.security.protocol
            ) from error

    async def move(self, bootstrap: str) -> None:
        """The cluster is at another address now: go on there, with every request that is being
        repeated. BrokerUnreachable when nothing answers; then all stays as it was.
        """
        client = await self._bootstrap(bootstrap)
        old, self._client = self._client, client
        self.bootstrap = bootstrap
        self._coordinators.clear()
        self._leaders.clear()
        if old is not None:
            await old.close()

    async def _bootstrap(self, bootstrap: str) -> Client:
        client = self.client(bootstrap)
        finding = asyncio.ensure_future(client.bootstrap())
        try:
            await asyncio.shield(finding)
        except (KafkaError, OSError) as error:
            await client.close()
            told = error.args[0] if error.args else error
            cause = f" ({told})" if self.security.protocol != "PLAINTEXT" else ""
            raise _unreachable(bootstrap, cause, protocol=self.security.protocol) from error
        except asyncio.CancelledError:
            # aiokafka forgets to close its first connection when it is cancelled in the middle.
            await asyncio.wait((finding,), timeout=CANCEL_GRACE_S)
            finding.cancel()
            await client.close()
            raise
        return client

    def client(self, bootstrap: str) -> Client:
        """Another client of the same cluster, not connected yet."""
        return Client(
            bootstrap,
            client_id=self.client_id,
            security=self.security,
            request_timeout_ms=self.request_timeout_ms,
            max_idle_ms=self.max_idle_ms,
        )

    async def close(self) -> None:
        """Close every connection; closing twice is allowed."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def transactions_v2(self) -> bool:
        """Whether the cluster runs transactions of protocol v2 (KIP-890)."""
        return self.features.get("transaction.version", 0) >= 2

    async def refresh_features(self) -> None:
        """Ask for the finalized features: aiokafka asks in a version that has none."""
        answer = await self.request(
            None,
            ApiKey.API_VERSIONS,
            lambda _: ApiVersionsRequest(
                client_software_name="flowstream", client_software_version="0.1"
            ),
        )
        self.features = {f.name: f.max_version_level for f in answer.finalized_features}

    def level(self, level: int) -> int:
        """The log level of a request that failed and will be made again: while no broker can be
        reached, one line says that for all of them.
        """
        return logging.DEBUG if self._outage.lasts else level

    def nodes(self) -> list[int]:
        """Ids of the known brokers."""
        return sorted(b.nodeId for b in self._connected().cluster.brokers())

    async def request(
        self,
        to: Destination,
        key: ApiKey,
        build: Build,
        *,
        min_version: int = 0,
        max_version: int | None = None,
        timeout_ms: int | None = None,
        lane: Hashable = DEFAULT_LANE,
    ) -> Any:
        """One request, one answer. ConnectionLost when none came: the place is then looked up
        anew by the next request. A lane has connections of its own.
        """
        node = await self._locate(to)
        client = self._connected()  # not sooner: the cluster may have moved meanwhile
        timeout_s = (timeout_ms or self.request_timeout_ms) / 1000
        highest = API[key].max_version if max_version is None else max_version
        try:
            connection = await open_connection(client, node, lane)
            version = pick_version(connection, key, min_version, highest)
            return await call(connection, key, version, build(version), timeout_s)
        except ConnectionLost:
            self.forget(to)
            raise

    def forget(self, to: Destination) -> None:
        """Look the place up again before the next request to it."""
        if isinstance(to, Coordinator):
            self._coordinators.pop(to, None)
        elif isinstance(to, Leader):
            self._leaders.pop(to.tp, None)

    def drop_lane(self, lane: Hashable) -> None:
        """Close the connections of a lane; requests that wait on them get ConnectionLost."""
        if self._client is not None:
            close_lane(self._client, lane)

    async def partitions(self, topic: str) -> int:
        """Number of partitions of a topic, at most a minute old; UnknownTopic when there is no
        such topic.
        """
        now = monotonic_ms()
        deadline = now + self.request_timeout_ms
        pauses = backoffs()
        while self._asked_ms.get(topic, -PARTITIONS_MAX_AGE_MS) <= now - PARTITIONS_MAX_AGE_MS:
            await self._refresh_leaders((topic,))
            if topic in self._asked_ms:
                break
            if monotonic_ms() > deadline:
                raise ConnectionLost(f"topic {topic} has no leaders")
            await asyncio.sleep(next(pauses))
        return self._partitions[topic]

    async def leader(self, tp: TopicPartition) -> int:
        """The node that leads a partition; waits out an election."""
        deadline = monotonic_ms() + self.request_timeout_ms
        pauses = backoffs()
        while (node := self._leaders.get(tp)) is None:
            await self._refresh_leaders((tp.topic,))
            if tp in self._leaders:
                continue
            if tp.partition >= self._partitions.get(tp.topic, tp.partition + 1):
                raise UnknownTopic(f"topic {tp.topic} has no partition {tp.partition}")
            if monotonic_ms() > deadline:
                raise ConnectionLost(f"{tp.topic}-{tp.partition} has no leader")
            await asyncio.sleep(next(pauses))
        return node

    async def metadata(
        self, topics: Iterable[str] | None, *, create: bool = False
    ) -> MetadataResponse:
        """The cluster's own description, of all topics when None. With `create`, missing topics are
        made if the cluster does that (auto.create.topics.enable).
        """
        wanted = None
        if topics is not None:
            wanted = tuple(MetadataRequestTopic(name=name) for name in topics)
        found: MetadataResponse = await self.request(
            None,
            ApiKey.METADATA,
            lambda _: MetadataRequest(topics=wanted, allow_auto_topic_creation=create),
            min_version=4,
            max_version=12,
        )
        return found

    async def _refresh_leaders(self, topics: Iterable[str]) -> None:
        for topic in (await self.metadata(topics)).topics:
            name = topic.name or ""
            if topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                self._partitions.pop(name, None)
                self._asked_ms.pop(name, None)
                raise UnknownTopic(f"the cluster has no topic {name!r}")
            if topic.error_code and not retriable(topic.error_code):
                raise RequestRefused(f"metadata of topic {name!r}", topic.error_code)
            if topic.partitions:  # none while the topic is being made
                self._partitions[name] = len(topic.partitions)
                self._asked_ms[name] = monotonic_ms()
            for partition in topic.partitions:
                tp = TopicPartition(name, partition.partition_index)
                if partition.leader_id >= 0:
                    self._leaders[tp] = partition.leader_id
                else:
                    self._leaders.pop(tp, None)

    async def _locate(self, to: Destination) -> int:
        if to is None:
            return await self._any_node()
        if isinstance(to, Coordinator):
            node = self._coordinators.get(to)
            if node is None:
                node = self._coordinators[to] = await self._find_coordinator(to)
        elif isinstance(to, Leader):
            node = await self.leader(to.tp)
        else:
            node = to
        client = self._connected()
        if client.cluster.broker_metadata(node) is None:
            await client.force_metadata_update()
        return node

    async def _any_node(self) -> int:
        client = self._connected()
        # A node that swallows what is sent to it costs half a minute: those that answer come first.
        for node in sorted(self.nodes(), key=lambda node: not client.is_connected(node)):
            if await client.ready(node):
                away_ms = self._outage.ends(monotonic_ms())
                if away_ms is not None:
                    log.warning(
                        "the cluster at %s answers again, after %.1f s",
                        self.bootstrap, away_ms / 1000,
                    )  # fmt: skip
                return node
        error = ConnectionLost(f"no broker of the cluster at {self.bootstrap} can be reached")
        if self._outage.goes_on(monotonic_ms()):
            log.warning("%s: trying until one answers", error)
        raise error

    async def _find_coordinator(self, wanted: Coordinator) -> int:
        def build(version: int) -> FindCoordinatorRequest:
            kind = 0 if wanted.kind == "group" else 1
            if version >= 4:
                return FindCoordinatorRequest(key_type=kind, coordinator_keys=(wanted.key,))
            return FindCoordinatorRequest(key=wanted.key, key_type=kind)

        deadline = monotonic_ms() + self.request_timeout_ms
        pauses = backoffs()
        while True:
            answer = await self.request(
                None, ApiKey.FIND_COORDINATOR, build, min_version=1, max_version=5
            )
            found = answer.coordinators[0] if answer.coordinators else answer
            if found.error_code == ErrorCode.NONE:
                node: int = found.node_id
                return node
            what = f"finding the {wanted.kind} coordinator of {wanted.key!r}"
            if not retriable(found.error_code):
                raise RequestRefused(what, found.error_code)
            if monotonic_ms() > deadline:
                # No refusal: whoever promised to ask until there is an answer goes on.
                raise ConnectionLost(f"{what}: {error_name(found.error_code)} for too long")
            await asyncio.sleep(next(pauses))

    def _connected(self) -> Client:
        if self._client is None:
            raise TransportError("the cluster client is not connected")
        return self._client


def _unreachable(
    bootstrap: str, cause: str = "", *, protocol: str = "PLAINTEXT"
) -> BrokerUnreachable:
    if protocol != "PLAINTEXT":
        return BrokerUnreachable(
            f"no Kafka broker lets us in at {bootstrap} by {protocol}{cause}: check the address,"
            " user, password or token, mechanism and the file of trusted authorities"
            " (docs/security.md)"
        )
    return BrokerUnreachable(
        f"no Kafka broker answers at {bootstrap}{cause}. Start one with `flowstream broker`, or"
        " give the right address with --broker."
    )
