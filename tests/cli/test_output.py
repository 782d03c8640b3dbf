"""What the verbs print, without a cluster."""

from __future__ import annotations

import json

import pytest
import typer

from flowstream.cli import groups, options, send, tail
from flowstream.transport.types import GroupDescription, GroupMember, TopicPartition

T0, T1, T2 = (TopicPartition("t", n) for n in range(3))


def test_lag_knows_owners_and_partitions_without_offsets() -> None:
    member = GroupMember("m-1", None, "c", "/127.0.0.1", (T0, T1))
    group = GroupDescription("g", "Stable", "flowstream", (member,))
    committed = {T0: 0, T2: 9}
    rows = groups.lag(group, [T0, T1, T2], committed, {T0: 5, T1: 3, T2: 7}, committed)
    assert rows == [
        ("t", 0, 0, 5, 5, "m-1", "/127.0.0.1"),
        ("t", 1, None, 3, None, "m-1", "/127.0.0.1"),
        ("t", 2, 9, 7, 0, None, None),
    ]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (None, None),
        (b"", ""),
        (b"5", "5"),
        ("ü".encode(), "ü"),
        (b'{"a": 1}', {"a": 1}),
        (b"[1, 2]", [1, 2]),
        (b"{not json", "{not json"),
        (b"\xff\x00", {"base64": "/wA="}),
    ],
)
def test_values_are_shown_as_json_or_text(raw: bytes | None, shown: object) -> None:
    assert tail.value_of(raw) == shown


def test_keyed_records() -> None:
    assert list(send.keyed(["a"], "k", None)) == [("k", "a")]
    assert list(send.keyed(["k:a:b"], None, ":")) == [("k", "a:b")]
    with pytest.raises(typer.BadParameter):
        list(send.keyed(["a"], None, ":"))


def test_pairs() -> None:
    assert options.pair("retention.ms=-1") == ("retention.ms", "-1")
    with pytest.raises(typer.BadParameter):
        options.pair("retention.ms")


def test_rows_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    options.show(("topic", "partitions"), [("t", 4)], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"topic": "t", "partitions": 4}]
