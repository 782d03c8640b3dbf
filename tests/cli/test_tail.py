"""`flowstream tail`: where it starts and stops, and what it shows."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from aiokafka import AIOKafkaProducer

from flowstream.cli.embedded import read_address
from tests.cli.visiting import call, objects, output


def test_what_is_sent_is_what_tail_prints(data: Path) -> None:
    output(data, "topics", "create", "told")
    output(data, "send", "told", "-k", "ada", '{"n": 1}', "--timestamp", "1000", "-H", "a=b")
    output(data, "send", "told", "--key-separator", ":", lines="bob:x\ncyd:y:z\n")
    output(data, "send", "told", "-k", "ada", "--tombstone")
    rows = objects(output(data, "tail", "told", "--no-follow"))
    assert rows[0] == {
        "topic": "told",
        "partition": 0,
        "offset": 0,
        "timestamp": 1000,
        "key": "ada",
        "value": {"n": 1},
        "headers": [["a", "b"]],
    }
    assert [(row["key"], row["value"]) for row in rows[1:]] == [
        ("bob", "x"),
        ("cyd", "y:z"),
        ("ada", None),
    ]


def test_who_reads_only_the_first_lines_ends_tail_quietly(data: Path) -> None:
    output(data, "topics", "create", "long")
    output(data, "send", "long", *(f"{number}" * 100 for number in range(2_000)))
    command = [sys.executable, "-m", "flowstream", "tail", "long", "--no-follow"]
    with subprocess.Popen(
        [*command, "--data", str(data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert json.loads(tail.stdout.readline())["offset"] == 0
        tail.stdout.close()
        assert tail.stderr.read() == b""
        assert tail.wait(20) == 0


def test_tail_starts_and_stops_where_it_is_told(data: Path) -> None:
    output(data, "topics", "create", "numbers")
    output(data, "send", "numbers", lines="".join(f"{n}\n" for n in range(100)))
    assert len(objects(output(data, "tail", "numbers", "--no-follow"))) == 100
    rows = objects(output(data, "tail", "numbers", "--from", "40", "-n", "3"))
    assert [row["value"] for row in rows] == ["40", "41", "42"]
    rows = objects(output(data, "tail", "numbers", "--from-beginning", "-n", "2"))
    assert [row["value"] for row in rows] == ["0", "1"]
    both = call(data, "tail", "numbers", "--from-beginning", "--from", "7")
    assert "use one of them" in both.output
    assert output(data, "tail", "numbers", "--from", "latest", "--no-follow") == ""
    nothing = call(data, "tail", "numbers", "--from", "999", "--no-follow")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "numbers-0 ends at offset 100, so --from 999 is beyond it" in nothing.stderr
    assert call(data, "tail", "numbers", "--from", "100", "--no-follow").stderr == ""


def test_tail_with_a_count_shows_the_newest_of_all_partitions(data: Path) -> None:
    output(data, "topics", "create", "newest", "-p", "2")
    for partition, words in ((0, "abc"), (1, "de"), (0, "f")):
        output(data, "send", "newest", "-p", str(partition), *words)

    def tail(*words: str) -> list[str]:
        return [row["value"] for row in objects(output(data, "tail", "newest", *words))]

    assert tail("-n", "1") == ["f"]
    assert tail("-n", "3") == ["d", "e", "f"]
    assert tail("-n", "4", "--no-follow") == ["c", "d", "e", "f"]
    assert tail("-n", "9", "--no-follow") == ["a", "b", "c", "d", "e", "f"]
    assert tail("-n", "2", "-p", "0") == ["c", "f"]


async def test_tail_looks_behind_what_was_aborted_and_waits_for_what_is_missing(
    data: Path,
) -> None:
    await asyncio.to_thread(output, data, "topics", "create", "aborted")
    await asyncio.to_thread(output, data, "send", "aborted", "a", "b")
    producer = AIOKafkaProducer(bootstrap_servers=read_address(data), transactional_id="aborts")
    await producer.start()
    for _ in range(3):
        await producer.begin_transaction()
        await producer.send_and_wait("aborted", b"never")
        await producer.abort_transaction()
    await producer.stop()
    tail = ("tail", "aborted", "-n")
    found = objects(await asyncio.to_thread(output, data, *tail, "2"))
    assert [row["value"] for row in found] == ["a", "b"]
    waiting = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flowstream", *tail, "3", "--data", str(data),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.to_thread(output, data, "send", "aborted", "c")
    out, _ = await waiting.communicate()
    assert [row["value"] for row in objects(out.decode())] == ["a", "b", "c"]
