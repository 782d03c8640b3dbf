"""Workers of one app on one virtual loop, and how they die.

Shell. A life is one worker from its start to its end. Killed, it stands still at once as after
kill -9: nothing of it reaches the broker or a store any more, and its slot is the next one's as
its disk has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from flowstream.processing.app import App
from flowstream.processing.commit import Step
from flowstream.processing.environment.doors import Doors
from flowstream.processing.environment.settings import Settings
from flowstream.processing.group.membership import Membership
from flowstream.processing.worker import Worker
from flowstream.testing.memory_broker import HOST, MemoryBroker, MemoryCluster, Network
from flowstream.testing.memory_fetching import MemoryFetching, Rest
from flowstream.testing.places import MemorySlot, Places
from flowstream.testing.watching import next_tick_s, state_of
from flowstream.transport.cluster import Cluster
from flowstream.transport.member import GroupMember


class Killed(BaseException):
    """Ends a worker where it stands."""


class LifeDoors(Doors):
    """The doors of one worker in memory. `Life` sees what goes through them."""

    has_watchdog = False
    looks_around = False
    has_app = False

    def __init__(
        self, broker: MemoryBroker, network: Network, places: Places, rest: Rest,
        fetch_wait_ms: int,
    ) -> None:  # fmt: skip
        self.clusters: list[MemoryCluster] = []
        self.fetches: list[MemoryFetching] = []
        self.slot: MemorySlot | None = None
        self._broker = broker
        self._network = network
        self._places = places
        self._rest = rest
        self._fetch_wait_ms = fetch_wait_ms

    @property
    def bootstraps(self) -> bool:
        """Not where a test says in which order records are to be read."""
        return not self._broker.arrivals

    def cluster(self, bootstrap: str, client_id: str, settings: Settings) -> Cluster:
        """A client of the broker in memory."""
        del bootstrap, settings
        self.clusters.append(MemoryCluster(self._broker, self._network, client_id))
        return self.clusters[-1]

    def fetching(self, cluster: Cluster, max_partition_bytes: int) -> MemoryFetching:
        """What the next membership fetches with."""
        rest, wait_ms = self._rest, self._fetch_wait_ms
        self.fetches.append(MemoryFetching(cluster, rest, wait_ms, max_partition_bytes))
        self.fetches[-1].arrivals = self._broker.arrivals
        return self.fetches[-1]

    def take_slot(self, data_dir: Path, app_id: str) -> MemorySlot:
        """The first free slot."""
        del data_dir
        self.slot = self._places.take(app_id)
        return self.slot

    def stores(self, data_dir: Path, app_id: str, table: str) -> list[Path]:
        """Where stores of a table are."""
        del data_dir, app_id
        return self._places.stores(table)


class Life:
    """One worker. `checkpoint` is told of every step of its commits."""

    def __init__(
        self,
        app: App,
        broker: MemoryBroker,
        network: Network,
        places: Places,
        checkpoint: Callable[[Life, str], None],
        *,
        rest: Rest,
        fetch_wait_ms: int,
        settings: Settings | None = None,
    ) -> None:
        self.is_dead = False
        self._places = places
        self.doors = LifeDoors(broker, network, places, rest, fetch_wait_ms)
        self.worker = Worker(
            app,
            f"{HOST}:1",
            checkpoint=lambda step: self._at(checkpoint, step),
            clock=lambda: broker.loop.now_ms,
            doors=self.doors,
        )
        if settings is not None:
            self.worker.settings = settings
        self.running = broker.loop.create_task(self.worker.run(), name=f"worker of {app.id}")

    def _at(self, checkpoint: Callable[[Life, str], None], step: str) -> None:
        if not self.is_dead:
            checkpoint(self, step)
        if self.is_dead:
            raise Killed(step)

    @property
    def membership(self) -> Membership | None:
        """Its membership, if it has one."""
        return self.worker.membership

    @property
    def fetching(self) -> MemoryFetching | None:
        """What its membership fetches with, if it has one."""
        return self.doors.fetches[-1] if self.doors.fetches else None

    @property
    def member(self) -> GroupMember | None:
        """It as a member of its group."""
        consumer = None if self.membership is None else self.membership._consumer
        return None if consumer is None else consumer._member

    @property
    def has_joined(self) -> bool:
        """Whether it has its share of the group's partitions, as far as it knows."""
        membership, member = self.membership, self.member
        if membership is None or member is None or member.generation is None:
            return False
        is_settled = not member.is_rebalancing and not member._unfinished
        return is_settled and membership._has_share

    def kill(self) -> None:
        """It stands still now."""
        self.is_dead = True
        for cluster in self.doors.clusters:
            cluster.cut()
        if self.doors.slot is not None:
            self._places.bury(self.doors.slot)
        self.running.cancel()


class WatchedRest(Rest):
    """A rest that lasts until there is something to do, however long that is: what a worker looks
    for ten times a second is found here when it happens, because everything stands still then.
    """

    def __init__(self) -> None:
        self.life: Life | None = None
        self._seen: tuple[object, ...] | None = None
        self._news: asyncio.Event | None = None

    @property
    def is_on(self) -> bool:
        """Whether the worker waits for something to do."""
        return self._news is not None

    async def wait(self, news: asyncio.Event, timeout_ms: int) -> None:
        """Until there is something to do, or something comes due."""
        del timeout_ms
        assert self.life is not None
        membership = self.life.membership
        loop = asyncio.get_running_loop()
        left = None
        if membership is not None:
            now_ms = self.life.worker.wall_time_ms()
            left = next_tick_s(membership, now_ms, round(loop.time() * 1000))
        timer = None if left is None else loop.call_later(left, news.set)
        self._seen, self._news = self._state(), news
        try:
            await news.wait()
        finally:
            self._news = None
            if timer is not None:
                timer.cancel()

    def look(self) -> bool:
        """Everything stands still: wake the worker if there is something to do."""
        if self._news is None or self._news.is_set() or self._state() == self._seen:
            return False
        self._news.set()
        return True

    def _state(self) -> tuple[object, ...]:
        assert self.life is not None
        worker = self.life.worker
        return worker.wants_stop, worker.is_outgrown, state_of(self.life.membership)


STEPS = tuple(step.value for step in Step)
"""Where a worker can be killed in the middle of a commit: before each of these."""
