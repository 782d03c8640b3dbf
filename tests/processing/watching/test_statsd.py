"""What a statsd server hears of an app."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.watching import statsd
from flowstream.transport.types import TopicPartition
from tests.processing.conftest import Kit


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A server that only hears."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        yield listening


def heard(server: socket.socket) -> list[str]:
    """All that has come."""
    found = []
    while True:
        try:
            found.append(server.recv(65_536).decode())
        except BlockingIOError:
            return found


@pytest.mark.parametrize("tags", [False, True])
async def test_counts_are_told_as_they_change(
    kit: Kit, name: str, server: socket.socket, tags: bool
) -> None:
    app = kit.app(name)
    monitor = fs.StatsdMonitor(*server.getsockname(), prefix="shop", tags=tags)
    app.monitor = monitor
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    counts = app.Table("counts", default=int)

    @app.agent(words)
    async def count(stream: fs.Stream[str]) -> None:
        async for word in stream:
            counts[word] += 1
            del counts[word]
            monitor.count("words", 2)

    await kit.create(app)
    async with kit.running(app):
        await words.send(value="a")
        await kit.until(kit.committed(app, words.name, 1))
        await kit.sees(lambda: bool(monitor.tp_committed_offsets))
    monitor.on_send_error(app, ValueError(), 0.0)
    told = heard(server)
    monitor.close()
    topic = f"|#topic:{name}-words" if tags else ""
    place = "" if tags else f".{name}-words"
    assert f"shop.messages_received{place}:1|c{topic}" in told
    table, named = ("|#table:counts", "") if tags else ("", ".counts")
    for what in ("retrieved", "updated", "deleted"):
        assert f"shop.table_keys_{what}{named}:1|c{table}" in told
    assert "shop.words:2|c" in told
    assert "shop.send_errors:1|c" in told
    for start in ("events_runtime", "send_latency", "commit_latency", "rebalance_end_latency",
                  "committed_offset"):  # fmt: skip
        assert any(line.startswith(f"shop.{start}") for line in told), start
    assert monitor.events_total == 1


def test_a_share_of_the_events_is_told(server: socket.socket) -> None:
    monitor = fs.StatsdMonitor(*server.getsockname(), rate=0.25)
    table: Any = type("Named", (), {"name": "t"})
    for _ in range(8):
        monitor.on_table_get(table, "k")
    assert heard(server) == ["flowstream.table_keys_retrieved.t:1|c|@0.25"] * 2
    monitor.close()
    monitor.count("nobody")  # a socket that is closed tells nobody, and raises nothing
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        fs.StatsdMonitor(rate=0)


def test_V2_a_name_that_nobody_resolves_holds_nobody_up(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for with each metric, in the event loop."""
    asked: list[str] = []
    known, now_s = threading.Event(), [0.0]

    def resolve(host: str, port: int, flags: int = 0) -> tuple[str, int]:
        if flags == socket.AI_NUMERICHOST:
            raise OSError("a name")
        asked.append(host)
        assert known.wait(60.0)
        address: tuple[str, int] = server.getsockname()
        return address

    monkeypatch.setattr(statsd, "resolve", resolve)
    monitor = fs.StatsdMonitor("statsd.shop", 8125, time=lambda: now_s[0])
    for _ in range(100):
        monitor.count("words")
    assert monitor._asking is not None
    known.set()
    monitor._asking.join()
    assert (asked, heard(server)) == (["statsd.shop"], [])
    monitor.count("words")
    assert heard(server) == ["flowstream.words:1|c"]
    now_s[0] = statsd.ASK_AGAIN_S
    monitor.count("words")
    monitor._asking.join()
    assert (asked, heard(server)) == (["statsd.shop"] * 2, ["flowstream.words:1|c"])
    monitor.close()


def test_each_metric_is_sampled_by_itself(server: socket.socket) -> None:
    """Of two that took turns one was never told."""
    monitor = fs.StatsdMonitor(*server.getsockname(), rate=0.5)
    place = TopicPartition("words", 0)
    arrival: Any = None
    for offset in range(4):
        monitor.on_message_in(place, offset, arrival)
        monitor.on_stream_event_out(place, offset, "count", arrival, monitor.time())
    told = Counter(line.partition(":")[0] for line in heard(server))
    monitor.close()
    named = ("messages_received.words", "events_runtime.count")
    assert told == {f"flowstream.{each}": 2 for each in named}
