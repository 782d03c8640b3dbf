"""A worker's doors to the outside: the cluster, what it fetches, its place on this machine.

Shell. One method per door, each production's; `flowstream.testing` has twins of all of them, which
is how the same worker runs in memory and on virtual time.
"""

from __future__ import annotations

from pathlib import Path

from flowstream.processing.environment.securing import security_of
from flowstream.processing.environment.settings import Settings
from flowstream.processing.environment.slots import Slot, stores_on_disk, take_slot
from flowstream.transport.cluster import Cluster
from flowstream.transport.consumer import Fetches


class Doors:
    """Production's doors."""

    has_watchdog = True
    """Whether a thread watches the event loop; on virtual time nothing is ever late."""
    looks_around = True
    """Whether topics may be deleted or grow without the worker's doing."""
    has_app = True
    """Whether what the app has open outside of agents (sends, asks, queries) ends with the worker;
    a test that asks sees its workers come and go.
    """

    @property
    def bootstraps(self) -> bool:
        """Whether tables that were never filled are, before events look their rows up."""
        return True

    def cluster(self, bootstrap: str, client_id: str, settings: Settings) -> Cluster:
        """A client of the cluster at HOST:PORT, not connected yet."""
        return Cluster(
            bootstrap, client_id=settings.client_id or client_id, security=security_of(settings),
            request_timeout_ms=round(settings.request_timeout * 1000),
            max_idle_ms=round(settings.connections_max_idle * 1000),
        )  # fmt: skip

    def fetching(self, cluster: Cluster, max_partition_bytes: int) -> Fetches | None:
        """How group members fetch; None: as they do by themselves."""
        del cluster, max_partition_bytes
        return None

    def take_slot(self, data_dir: Path, app_id: str) -> Slot:
        """A slot of the app for one worker."""
        return take_slot(data_dir, app_id)

    def stores(self, data_dir: Path, app_id: str, table: str) -> list[Path]:
        """Where stores of a table are, in any slot of the app here."""
        return stores_on_disk(data_dir, app_id, table)


DOORS = Doors()
