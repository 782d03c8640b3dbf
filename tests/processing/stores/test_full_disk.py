"""A worker whose disk is full stops with the path and the remedy, and nothing is lost (S3, D7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.state.rocksdb import RocksStore
from flowstream.state.store import StoreError
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit

FULL = "IO error: No space left on device: While appending to file: 000009.sst"
"""RocksDB's words on a file system without space."""


class FullDatabase:
    """A database that can be read, and written no more."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def write(self, *_: object) -> None:
        raise Exception(FULL)  # rocksdict raises nothing finer

    def flush(self) -> None:
        raise Exception(FULL)


class Disk:
    """Where the stores of a process are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        opened = RocksStore._opened

        def opened_here(store: RocksStore) -> Any:
            return FullDatabase(opened(store)) if self.is_full else opened(store)

        monkeypatch.setattr(RocksStore, "_opened", opened_here)


def counting(kit: Kit, name: str) -> tuple[fs.App, fs.Topic[str, str]]:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=2)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    counts = app.Table("counts", default=int)

    @app.agent(words, sink=[out])
    async def count(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, value in stream.items():
            counts[key] += 1
            yield f"{key}{value}{counts[key]}"

    return app, words


@pytest.mark.parametrize("when", ["while it commits", "when it stops"])
async def test_S2_S3_D7_a_full_disk_stops_the_worker_and_loses_nothing(
    kit: Kit, name: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    app, words = counting(kit, name)
    await kit.admin.create_topics([NewTopic(words.name, 2)])
    for number in range(2):
        await words.send(key=f"k{number}", value="a", partition=number)
    worker = fs.Worker(app, kit.address)
    running = asyncio.create_task(worker.run())
    await kit.until(kit.committed(app, words.name, 2))
    disk.is_full = True
    if when == "when it stops":
        worker.stop()
    else:
        await words.send(key="k0", value="b", partition=0)
    path = kit.directory / name / "state" / name / "0" / "counts-"
    told = rf"the disk of {path}\d is full .* Free space and start again"
    with pytest.raises(StoreError, match=told):
        await asyncio.wait_for(running, 30)
    # In this process again: every store and the slot were let go.
    disk.is_full = False
    again, words = counting(kit, name)
    await words.send(key="k1", value="c", partition=1)
    total = 3 if when == "when it stops" else 4
    await kit.run_until(again, kit.committed(again, words.name, total))
    expected = [b"k0a1", b"k1a1", b"k1c2"] + ([] if when == "when it stops" else [b"k0b2"])
    assert sorted(v for v in await kit.values(f"{name}-out") if v) == sorted(expected)
