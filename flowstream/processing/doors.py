"""A worker's doors to the outside: the cluster, its group, its place on this machine.

Shell. One method per door, each production's; `flowstream.testing` has twins of all of them, which
is how the same worker runs in memory and on virtual time.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from flowstream.processing.securing import security_of
from flowstream.processing.settings import Settings
from flowstream.processing.slots import Slot, stores_on_disk, take_slot
from flowstream.transport.assignor import GroupAssignor
from flowstream.transport.cluster import Cluster
from flowstream.transport.consumer import GroupConsumer, Listener
from flowstream.transport.fetching import Batches
from flowstream.transport.types import Generation, TopicPartition


class Consumer(Protocol):
    """What a membership asks of its consumer: see `transport.consumer.GroupConsumer`."""

    async def start(self, topics: Iterable[str]) -> None:
        """Connect and begin to join."""

    async def stop(self) -> None:
        """Leave the group."""

    async def getmany(self, max_records: int = 500, timeout_ms: int = 200) -> Batches:
        """Records that are ready; waits for the first."""

    def generation(self) -> Generation | None:
        """The generation that this member is in."""

    async def generation_after(self, refused: Generation) -> Generation | None:
        """The generation into which this member went over with all it owns, if it did."""

    def want_rebalance(self) -> None:
        """Join again soon, with something new to tell the leader."""

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Fetch from here."""

    def pause(self, *partitions: TopicPartition) -> None:
        """Fetch no more of these."""

    def resume(self, *partitions: TopicPartition) -> None:
        """Fetch them again."""

    def highwater(self, tp: TopicPartition) -> int | None:
        """How far a partition goes, as the last fetch told."""

    def unfetched(self, tp: TopicPartition) -> int | None:
        """Offsets between what `getmany` gave and that end."""


class Doors:
    """Production's doors."""

    has_watchdog = True
    """Whether a thread watches the event loop; on virtual time nothing is ever late."""

    def cluster(self, bootstrap: str, client_id: str, settings: Settings) -> Cluster:
        """A client of the cluster at HOST:PORT, not connected yet."""
        return Cluster(bootstrap, client_id=client_id, security=security_of(settings))

    def consumer(
        self,
        cluster: Cluster,
        group: str,
        assignor: GroupAssignor,
        listener: Listener,
        *,
        session_timeout_ms: int,
        heartbeat_interval_ms: int,
    ) -> Consumer:
        """A member of a group, not joined yet."""
        return GroupConsumer(
            cluster, group, assignor, listener,
            session_timeout_ms=session_timeout_ms, heartbeat_interval_ms=heartbeat_interval_ms,
        )  # fmt: skip

    def take_slot(self, data_dir: Path, app_id: str) -> Slot:
        """A slot of the app for one worker."""
        return take_slot(data_dir, app_id)

    def stores(self, data_dir: Path, app_id: str, table: str) -> list[Path]:
        """Where stores of a table are, in any slot of the app here."""
        return stores_on_disk(data_dir, app_id, table)


DOORS = Doors()
