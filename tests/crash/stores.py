"""The stores that stopped workers left behind, against the changelog that they are folded from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from flowstream.state.rocksdb import open_store
from flowstream.state.store import StoreIdentity
from tests.checkers.history import Anomaly
from tests.checkers.stream import check_same
from tests.crash.topics import Found


def fold(changelog: Iterable[Found], partition: int, end: int) -> dict[str, object]:
    """The rows of a partition's changelog below `end`."""
    rows: dict[str, object] = {}
    for found in changelog:
        if found.partition == partition and found.offset < end:
            rows[found.key.decode()] = found.value
    return {key: value for key, value in rows.items() if value is not None}


def check_stores(
    state: Path, app: str, table: str, changelog: Sequence[Found]
) -> tuple[list[Anomaly], int]:
    """S1, S10: each store is the fold of the changelog below the offset that it names. Says how
    many stores there were.
    """
    found: list[Anomaly] = []
    paths = sorted((state / app).glob(f"*/{table}-*"))
    for path in paths:
        partition = int(path.name.rpartition("-")[2])
        store = open_store(path, identity=StoreIdentity(app, table, partition))
        try:
            end = store.changelog_offset or 0
            rows = {key.decode(): value for key, value in store.scan()}
        finally:
            store.close()
        wanted = fold(changelog, partition, end)
        found += check_same(f"the changelog below {end}", wanted, f"{path}", rows)
    return found, len(paths)
