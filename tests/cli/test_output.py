"""What the verbs print, without a cluster."""

from __future__ import annotations

import asyncio
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from flowstream.cli import configs, groups, options, quotas, reset_offsets, send, tail
from flowstream.cli.app import build
from flowstream.transport.types import GroupDescription, GroupMember, LogRecord, TopicPartition
from flowstream.transport.unpacking import Fetched

T0, T1, T2 = (TopicPartition("t", n) for n in range(3))


@pytest.mark.parametrize("verbs", [(), ("topics",)])
def test_the_version_is_told_whatever_verb_follows(verbs: tuple[str, ...]) -> None:
    told = CliRunner().invoke(build(verbs or ("topics", "lag")), ["--version", *verbs])
    assert (told.exit_code, told.stdout) == (0, f"flowstream {metadata.version('flowstream')}\n")


@pytest.mark.parametrize("words", ["-h", "lag -h", "topics -h", "topics list -h", "broker -h"])
def test_a_short_word_asks_for_help_everywhere(words: str) -> None:
    told = CliRunner().invoke(build(("topics", "lag", "broker")), words.split())
    assert (told.exit_code, "sage: " in told.stdout) == (0, True), told.output


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
        (b"[" * 10_000, "[" * 10_000),
        (b"[" * 10_000 + b"]" * 10_000, "[" * 10_000 + "]" * 10_000),
        (b"\xff\x00", {"base64": "/wA="}),
    ],
)
def test_values_are_shown_as_json_or_text(raw: bytes | None, shown: object) -> None:
    assert tail.value_of(raw) == shown


async def test_keyed_records() -> None:
    assert [some async for some in send.keyed(send.texts(["a"]), "k", None)] == [[("k", "a")]]
    assert send.parted("k:a:b", ":") == ("k", "a:b")
    with pytest.raises(typer.BadParameter):
        send.parted("a", ":")


def test_pairs() -> None:
    assert options.pair("retention.ms=-1") == ("retention.ms", "-1")
    with pytest.raises(typer.BadParameter):
        options.pair("retention.ms")


def test_X4_a_record_cannot_steer_who_looks_at_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets were markup, and a bracket that closes nothing ended the verb with a traceback."""
    odd = ["[red]key[/]", "bad [/b] tag", ":warning:", "\x1b[2J\r", "a\nb"]
    options.show(("key",), [(each,) for each in odd])
    shown = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert shown == ["key", *odd[:3], "\\x1b[2J\\x0d", "a", "b"]


class Quiet:
    """A partition in which nothing comes. `done` is set when it was asked often enough."""

    def __init__(self, done: asyncio.Event) -> None:
        self.position = 0
        self.waited_ms: list[int] = []
        self._done = done

    async def read(self, timeout_ms: int) -> list[LogRecord]:
        self.waited_ms.append(timeout_ms)
        if len(self.waited_ms) == 3:
            self._done.set()
        await asyncio.sleep(0)
        return []


@pytest.mark.parametrize(("count", "at_most_ms"), [(1, 100), (3, 100), (20, 100), (60, 300)])
async def test_V2_a_record_waits_for_no_turn_of_each_other_partition(
    count: int, at_most_ms: int
) -> None:
    """Each of 60 partitions waited 100 ms in which the others could not."""
    printer = tail.Printer(None)
    readers: Any = {TopicPartition("t", n): Quiet(printer.done) for n in range(count)}
    await tail.read(readers, printer, None)
    assert 0 < sum(each.waited_ms[0] for each in readers.values()) <= at_most_ms


def test_X4_half_a_surrogate_pair_does_not_end_tail() -> None:
    record = Fetched("t", 0, 7, 1_000, b"k", b'["\\ud800", "\xc3\xbc"]', ())
    line = tail.line_of(T0, record)
    assert '"\\ud800", "ü"' in line
    assert json.loads(line.encode())["value"] == ["\ud800", "ü"]


def test_rows_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    options.show(("topic", "partitions"), [("t", 4)], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"topic": "t", "partitions": 4}]


def test_G6_a_new_offset_is_never_outside_of_what_is_there() -> None:
    known = reset_offsets.Known(3, 9, 7, at_time=5)
    for target, expected in (
        (reset_offsets.Target(edge="earliest"), 3),
        (reset_offsets.Target(edge="latest"), 9),
        (reset_offsets.Target(offset=1), 3),
        (reset_offsets.Target(offset=99), 9),
        (reset_offsets.Target(shift=1), 8),
        (reset_offsets.Target(shift=-9), 3),
        (reset_offsets.Target(time_ms=1), 5),
        (reset_offsets.Target(file={T0: 4}), 4),
    ):
        wanted = reset_offsets.wanted_offset(target, T0, known)
        assert reset_offsets.clipped(T0, wanted, known)[0] == expected
    late = reset_offsets.Known(3, 9, None, at_time=None)
    assert reset_offsets.wanted_offset(reset_offsets.Target(time_ms=1), T0, late) == 9


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert reset_offsets.milliseconds("1700000000000") == 1_700_000_000_000
    assert reset_offsets.milliseconds("1970-01-01T00:00:01.5") == 1_500
    assert reset_offsets.milliseconds("1970-01-01T01:00:00+01:00") == 0
    assert reset_offsets.milliseconds("1969-12-31T23:59:59.999") == 0, "-1 would be the end"
    assert reset_offsets.milliseconds("1969-12-31T23:59:59") == -1_000
    with pytest.raises(typer.BadParameter, match="is no time"):
        reset_offsets.milliseconds("noon")


def test_a_plan_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    plan = tmp_path / "plan.csv"
    plan.write_text('t,0,5\n\n"a,b",1,7\n')
    assert reset_offsets.read_plan(plan) == {T0: 5, TopicPartition("a,b", 1): 7}
    for text, told in (("t,0\n", ":1: topic,partition,offset"), ("", "names no partition")):
        plan.write_text(text)
        with pytest.raises(typer.BadParameter, match=told):
            reset_offsets.read_plan(plan)
    with pytest.raises(typer.BadParameter, match="cannot be read"):
        reset_offsets.read_plan(tmp_path / "none.csv")


def test_quotas_are_of_one_entity() -> None:
    assert quotas.entity_of("ada", None, None, other_clients=True) == {
        "user": "ada",
        "client-id": None,
    }
    assert quotas.entity_of("default", None, None) == {"user": "default"}, "a user's name"
    assert quotas.entity_of(None, None, None, other_users=True) == {"user": None}
    assert quotas.entity_of(None, None, None, other_ips=True) == {"ip": None}
    with pytest.raises(typer.BadParameter, match="--user or --user-defaults"):
        quotas.entity_of("ada", None, None, other_users=True)
    with pytest.raises(typer.BadParameter, match="stands alone"):
        quotas.entity_of(None, None, "127.0.0.1", other_clients=True)
    with pytest.raises(typer.BadParameter):
        quotas.entity_of("ada", None, "127.0.0.1")
    assert quotas.numbers({"a": "1", "b": "2.5"}) == {"a": 1.0, "b": 2.5}
    with pytest.raises(typer.BadParameter, match="a number is expected"):
        quotas.numbers({"a": "much"})


def test_a_documentation_is_told_in_one_sentence() -> None:
    assert configs.first_sentence("The <i>least</i> one. More.") == "The least one."
    assert configs.first_sentence(None) is None


ROWS = (
    (
        "worker-" + "0123456789" * 4,
        "/127.0.0.1",
        "in 0-2\nwords-by-letter-repartition 0-9",
        1_234_567,
    ),
    ("w", None, "in 3", 0),
)


@pytest.mark.parametrize("width", [60, 80])
def test_a_table_that_is_too_wide_for_a_terminal_loses_nothing(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    table = options.table_of(("worker", "host", "partitions", "lag"), ROWS)
    options.print_table(Console(force_terminal=True, width=width, color_system=None), table)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert all("…" not in line for line in lines)
    shown = "".join(line[: lines[0].index("host")].strip() for line in lines[1:])
    assert shown.startswith("worker-" + "0123456789" * 4)
    assert any(line.rstrip().endswith(" 1234567") for line in lines), "numbers stay whole"


def test_a_pipe_has_no_edge(capsys: pytest.CaptureFixture[str]) -> None:
    wide = "0123456789" * 100
    options.show(("name", "note"), [(wide, "x " * 300)])
    assert f"{wide}  {'x ' * 299}x" in capsys.readouterr().out
