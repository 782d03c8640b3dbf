"""What agents send may be compressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.environment.doors import DOORS
from flowstream.processing.environment.settings import COMPRESSIONS
from flowstream.processing.errors import SettingsError
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.types import TopicPartition
from tests.processing.conftest import Kit


@pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
async def test_what_is_sent_and_kept_is_read_again(kit: Kit, name: str, compression: str) -> None:
    def declare(where: str) -> tuple[fs.App, Any, Any]:
        app = kit.app(name, compression=compression, data_dir=kit.directory / where)
        words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)
        out = app.topic(f"{name}-out", value_type=str, partitions=1)
        counts = app.Table("counts", default=int)

        @app.agent(words, sink=[out])
        async def count(stream: fs.Stream[str]) -> Any:
            async for word in stream:
                counts[word] += 1
                yield f"{word} {counts[word]} " + "x" * 500

        return app, words, out

    app, words, out = declare("a")
    await kit.create(app)
    async with kit.running(app):
        for _ in range(3):
            await words.send(key="k", value="w")
        await kit.until(kit.count(out.name, 3))
    # Another worker, whose table is restored from a changelog that is compressed, too.
    app, words, out = declare("b")
    async with kit.running(app):
        await words.send(key="k", value="w")
        await kit.until(kit.count(out.name, 4))
    told = [(value or b"").decode().split()[1] for value in await kit.values(out.name)]
    assert told == ["1", "2", "3", "4"]


def test_compressed_batches_are_smaller(tmp_path: Path) -> None:
    sizes = {}
    for compression, number in COMPRESSIONS.items():
        app = fs.App("x", compression=compression, data_dir=tmp_path)
        worker = fs.Worker(app, "127.0.0.1:9092")
        buffer: RecordBuffer = worker._buffer
        buffer.append(TopicPartition("t", 0), None, b"x" * 10_000, 1)
        ((batch,),) = buffer.take().values()
        data = batch.seal(1, 1, 0).data
        sizes[compression] = len(data)
        assert data[22] & 7 == number
    assert all(size < sizes["none"] / 2 for name, size in sizes.items() if name != "none")
    with pytest.raises(SettingsError, match="use one of none, gzip, snappy, lz4, zstd"):
        fs.App("x", compression="best")


def test_how_long_a_broker_may_take_to_answer() -> None:
    app = fs.App("x", request_timeout=7.5)
    assert DOORS.cluster("127.0.0.1:9092", "x", app.settings).request_timeout_ms == 7_500
