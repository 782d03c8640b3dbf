"""A table from outside of its worker: the store on this machine as far as its disk has it, and the
changelog from there on. Only committed rows; nothing is written.

Shell: opens stores to read and asks the cluster.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowstream.processing.environment.slots import stores_on_disk
from flowstream.processing.errors import StateLost
from flowstream.processing.stores.restoring import Progress, changelog_ends, decide, replay
from flowstream.processing.tables.table import Table
from flowstream.processing.values.codecs import BYTES
from flowstream.state.changelog import changelog_topic, fold
from flowstream.state.memory import MemoryStore
from flowstream.state.overlay import DELETED
from flowstream.state.restore import RestorePlan
from flowstream.state.rocksdb import RocksStore, open_store, read_store
from flowstream.state.store import StateStore, StoreError, StoreIdentity
from flowstream.state.table import TablePartition
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import TopicPartition


@dataclass(frozen=True, slots=True)
class Place:
    """A table's partition, and where its stores are on this machine."""

    app: str
    table: Table[Any, Any]
    changelog: TopicPartition
    stores: tuple[Path, ...]

    @property
    def identity(self) -> StoreIdentity:
        """What its stores must be."""
        return StoreIdentity(self.app, self.table.name, self.changelog.partition)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying one store found. `reason` is why it could not be compared."""

    path: Path
    rows: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    first: bytes | None = None
    reason: str = ""
    is_unwritten: bool = False

    @property
    def is_good(self) -> bool:
        """True when the store is the fold of its changelog, or holds nothing that could differ."""
        if self.is_unwritten:
            return True
        return not self.reason and not (self.missing or self.extra or self.different)


def places(
    app: str, tables: Mapping[str, int], declared: Mapping[str, Table[Any, Any]], data_dir: Path
) -> list[Place]:
    """Every partition of these tables (name: partitions of its changelog)."""
    found = []
    for name, partitions in sorted(tables.items()):
        stores = stores_on_disk(data_dir, app, name)
        for number in range(partitions):
            mine = tuple(path for path in stores if path.name == f"{name}-{number}")
            changelog = TopicPartition(changelog_topic(app, name), number)
            found.append(Place(app, declared[name], changelog, mine))
    return found


async def look(cluster: Cluster, place: Place) -> TablePartition:
    """The committed rows of a partition, as bytes: the store that is furthest, and what the
    changelog has beyond it.
    """
    admin = Admin(cluster)
    name = place.table.name
    base: StateStore = MemoryStore()
    plan = await changelog_ends(admin, place.changelog, name)
    for path in place.stores:
        try:
            store = read_store(path, place.identity)
        except StoreError:
            continue  # half made, or gone meanwhile: the changelog has everything
        decided = await decide(store, admin, place.changelog, name)
        usable = store.changelog_offset is not None and isinstance(decided, RestorePlan)
        if usable and isinstance(decided, RestorePlan) and decided.start >= plan.start:
            base, plan = store, decided
        else:
            store.close()
    return await beyond(cluster, place, base, plan)


async def beyond(
    cluster: Cluster, place: Place, base: StateStore, plan: RestorePlan
) -> TablePartition:
    """A store's rows with the changelog's on top, up to the plan's end."""
    part = TablePartition(place.table.name, place.changelog.partition, base, BYTES)
    rows: dict[bytes, bytes | None] = {}
    reader = PartitionReader(cluster, place.changelog, plan.start)
    while not plan.done(reader.position):
        fold(await reader.read(), rows)
    part.overlay.open = {key: DELETED if row is None else row for key, row in rows.items()}
    return part


def close(part: TablePartition) -> None:
    """Let go of the store below."""
    store = part.store
    if isinstance(store, RocksStore | MemoryStore):
        store.close()


async def verify(cluster: Cluster, place: Place) -> list[Verdict]:
    """Compare each store of a partition with the fold of the whole changelog (S8, S10): a store
    that a worker has open is compared as far as its disk has it, with the changelog from there.
    """
    if not place.stores:
        return []
    admin = Admin(cluster)
    ends = await changelog_ends(admin, place.changelog, place.table.name)
    found = []
    with _scratch(place) as truth:
        await replay(truth, cluster, place.changelog, ends, Progress())
        for path in place.stores:
            found.append(await _verify(cluster, admin, place, path, truth, ends.end))
    return found


async def _verify(
    cluster: Cluster, admin: Admin, place: Place, path: Path, truth: StateStore, end: int
) -> Verdict:
    try:
        store = read_store(path, place.identity)
    except StoreError as error:
        return Verdict(path, reason=str(error))
    try:
        if store.changelog_offset is None:
            reason = "nothing is on disk yet: it is built from the changelog"
            return Verdict(path, reason=reason, is_unwritten=True)
        decided = await decide(store, admin, place.changelog, place.table.name)
        if not isinstance(decided, RestorePlan):
            return Verdict(path, reason=decided.reason)
        plan = RestorePlan(min(decided.start, end), end)
        part = await beyond(cluster, place, store, plan)
        return _compare(path, part.rows({}), truth.scan())
    finally:
        store.close()


def _compare(
    path: Path, mine: Iterator[tuple[bytes, Any]], truth: Iterator[tuple[bytes, bytes]]
) -> Verdict:
    """Both are in key order."""
    rows = missing = extra = different = 0
    first: bytes | None = None
    one, other = next(mine, None), next(truth, None)
    while one is not None or other is not None:
        same_key = one is not None and other is not None and one[0] == other[0]
        is_equal = same_key and one == other
        if same_key:
            rows += 1
            different += not is_equal
            key, one, other = one[0], next(mine, None), next(truth, None)  # type: ignore[index]
        elif other is None or (one is not None and one[0] < other[0]):
            extra += 1
            key, one = one[0], next(mine, None)  # type: ignore[index]
        else:
            missing += 1
            key, other = other[0], next(truth, None)
        if first is None and not is_equal:
            first = key
    return Verdict(path, rows, missing, extra, different, first)


@contextmanager
def _scratch(place: Place) -> Iterator[StateStore]:
    """A store for the length of a block, on disk: a table may not fit into memory."""
    with tempfile.TemporaryDirectory(prefix="flowstream-verify-") as directory:
        store = open_store(Path(directory) / "store", place.identity)
        try:
            yield store
        finally:
            store.close()


def refuse_unknown(tables: Mapping[str, int], wanted: str) -> None:
    """StateLost when a table has no changelog to read."""
    if wanted not in tables:
        raise StateLost(
            f"table {wanted!r} has no changelog on this cluster: its app has not run here yet, or"
            " the topic was deleted"
        )
