"""The stores that stopped workers left, of any table, against the changelogs they are made of."""

from __future__ import annotations

from pathlib import Path

from flowstream.state.rocksdb import open_store
from flowstream.state.store import StoreIdentity
from tests.checkers.history import Anomaly
from tests.crash.kinds.app import NAME
from tests.crash.kinds.kind import Logs


def check_stores(state: Path, logs: Logs, *, is_fenced: bool = True) -> tuple[list[Anomaly], int]:
    """S1, S10: each store is the fold of its changelog below the offset that it names. Says how
    many stores there were. Where workers are not fenced its rows are in the changelog, and that is
    all: between what one writes there may be what another one wrote late.
    """
    found: list[Anomaly] = []
    paths = sorted(path for path in (state / NAME).glob("*/*-*") if path.is_dir())
    for path in paths:
        table, _, number = path.name.rpartition("-")
        store = open_store(path, identity=StoreIdentity(NAME, table, int(number)))
        try:
            end = store.changelog_offset or 0
            rows = dict(store.scan())
        finally:
            store.close()
        wanted = fold(logs, table, int(number), end)
        if not is_fenced:
            wanted |= rows.items() & written(logs, table, int(number), end)
            rows |= {key: wanted[key] for key in wanted.keys() - rows.keys()}
        found += [
            Anomaly("store differs", "S10", f"{path} {key!r}: {rows.get(key)!r}, not {want!r}")
            for key, want in (dict.fromkeys(rows) | wanted).items()
            if rows.get(key) != wanted.get(key)
        ]
    return found, len(paths)


def written(logs: Logs, table: str, number: int, end: int) -> set[tuple[bytes, bytes]]:
    """Every row that a partition's changelog ever held below `end`."""
    return {
        (record.key.encode("utf-8", "surrogateescape"), record.data)
        for record in logs.partitions(f"{NAME}-{table}-changelog").get(number, ())
        if record.offset < end and record.key is not None and record.data is not None
    }


def fold(logs: Logs, table: str, number: int, end: int) -> dict[bytes, bytes | None]:
    """The rows of a partition's changelog below `end`."""
    rows: dict[bytes, bytes | None] = {}
    for record in logs.partitions(f"{NAME}-{table}-changelog").get(number, ()):
        if record.offset < end and record.key is not None:
            rows[record.key.encode("utf-8", "surrogateescape")] = record.data
    return {key: value for key, value in rows.items() if value is not None}
