"""The verbs against a running broker."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from typer.testing import CliRunner, Result

from flowstream.cli.app import build
from flowstream.cli.embedded import read_address, write_address

VERBS = build(("topics", "groups", "send", "tail"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory with a running broker in it, as an embedded one leaves its address."""
    directory = tmp_path_factory.mktemp("data")
    command = [sys.executable, "-m", "flowstream", "broker", "--durability", "os"]
    command += ["--data", str(directory / "broker"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout is not None
        ready, address = broker.stdout.readline().split()
        assert ready == "ready"
        write_address(directory, address)
        yield directory
        broker.terminate()


def call(data: Path, *arguments: str, lines: str | None = None) -> Result:
    """Run a verb."""
    return CliRunner().invoke(VERBS, [*arguments, "--data", str(data)], input=lines)


def output(data: Path, *arguments: str, lines: str | None = None) -> str:
    """What a verb prints; it must succeed."""
    result = call(data, *arguments, lines=lines)
    assert result.exit_code == 0, result.output
    return result.stdout


def objects(text: str) -> list[dict[str, object]]:
    """One JSON object per line."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_topic_from_birth_to_death(data: Path) -> None:
    output(data, "topics", "create", "born", "-p", "3", "-c", "retention.ms=-1")
    listed = json.loads(output(data, "topics", "list", "--json"))
    assert {"topic": "born", "partitions": 3} in listed
    output(data, "send", "born", "-p", "1", "a", "b")
    found = json.loads(output(data, "topics", "describe", "born", "--json"))
    assert found["partitions"][1] == {"partition": 1, "start": 0, "end": 2}
    assert found["configs"]["retention.ms"] == "-1"
    output(data, "topics", "delete", "born")
    assert "born" not in output(data, "topics", "list")


def test_creating_twice_and_deleting_nothing_are_errors(data: Path) -> None:
    output(data, "topics", "create", "once")
    again = call(data, "topics", "create", "once")
    assert (again.exit_code, "exist" in again.stderr) == (1, True)
    gone = call(data, "topics", "delete", "never")
    assert (gone.exit_code, "never" in gone.stderr) == (1, True)


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


def test_tail_starts_and_stops_where_it_is_told(data: Path) -> None:
    output(data, "topics", "create", "numbers")
    output(data, "send", "numbers", lines="".join(f"{n}\n" for n in range(100)))
    assert len(objects(output(data, "tail", "numbers", "--no-follow"))) == 100
    rows = objects(output(data, "tail", "numbers", "--from", "40", "-n", "3"))
    assert [row["value"] for row in rows] == ["40", "41", "42"]
    assert output(data, "tail", "numbers", "--from", "latest", "--no-follow") == ""
    nothing = call(data, "tail", "numbers", "--from", "999", "--no-follow")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "numbers-0 ends at offset 100, so --from 999 is beyond it" in nothing.stderr
    assert call(data, "tail", "numbers", "--from", "100", "--no-follow").stderr == ""


async def test_the_lag_counts_partitions_that_were_never_read(data: Path) -> None:
    await asyncio.to_thread(output, data, "topics", "create", "untouched", "-p", "2")
    await asyncio.to_thread(output, data, "send", "untouched", "-p", "0", *"abc")
    await asyncio.to_thread(output, data, "send", "untouched", "-p", "1", *"de")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=read_address(data), group_id="reader", enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.subscribe(["untouched"])
        await consumer.getmany(timeout_ms=100)
        await consumer.commit({TopicPartition("untouched", 0): 2})
        told = await asyncio.to_thread(output, data, "groups", "describe", "reader", "--json")
    finally:
        await consumer.stop()
    found = json.loads(told)
    rows = [(row["partition"], row["committed"], row["lag"]) for row in found["partitions"]]
    assert (rows, found["lag"]) == ([(0, 2, 1), (1, None, 2)], 3)


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("tail", "nowhere"), "topics list"),
        (("topics", "describe", "nowhere"), "topics list"),
        (("groups", "describe", "nobody"), "groups list"),
    ],
)
def test_what_does_not_exist_is_told_with_the_remedy(
    data: Path, arguments: tuple[str, ...], remedy: str
) -> None:
    result = call(data, *arguments)
    assert (result.exit_code, remedy in result.stderr) == (1, True)


def test_a_broker_that_ended_is_told_with_its_directory(tmp_path: Path) -> None:
    write_address(tmp_path, "127.0.0.1:1")
    result = call(tmp_path, "topics", "list")
    assert result.exit_code == 1
    assert f"the broker of {tmp_path} is not running" in result.stderr
    assert "start a worker there" in result.stderr


def test_no_broker_is_told_with_the_remedy(tmp_path: Path) -> None:
    result = call(tmp_path, "topics", "list")
    assert (result.exit_code, "start a worker" in result.stderr) == (1, True)
