"""The web analytics example: its reference, its audit, and a run with kills."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from examples.web_analytics.demo import TOLD, audit
from examples.web_analytics.feed import KIND_OF, SAMPLE, closing_lines, lines_of
from examples.web_analytics.models import Counted, Hit, Session
from examples.web_analytics.pipeline import PARTITIONS, app
from examples.web_analytics.reference import counted, reference, sessions_of
from flowstream.wire.hashing import partition_for_key

ROOT = Path(__file__).resolve().parents[2]


def hit(visitor: str, at: float, referrer: str = "direct", status: int = 200) -> Hit:
    return Hit(visitor, at, "/", status, 10, referrer)


def test_a_line_is_a_hit_or_malformed() -> None:
    good = (
        '1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a?b=1 HTTP/1.1" 404 - "http://x.org/y" "z"'
    )
    assert Hit.of_line(good) == Hit("1.2.3.4", 1431857103.0, "/a", 404, 0, "x.org")
    for bad in ("", good.replace("404", "abc"), good.replace("17/May", "99/May"), good[:60]):
        with pytest.raises(ValueError):
            Hit.of_line(bad)


def test_sessions_are_parted_by_half_an_hour() -> None:
    hits = [hit("a", 0.0, "x.org"), hit("a", 1799.0), hit("a", 3599.0), hit("b", 5.0)]
    assert sorted(sessions_of(hits)) == [
        Session("a", 0.0, 1799.0, 2, 20, "x.org"),
        Session("a", 3599.0, 0.0, 1, 10, "direct"),
        Session("b", 5.0, 0.0, 1, 10, "direct"),
    ]


def test_windows_overlap() -> None:
    assert counted([("a", 7.0), ("a", 12.0)], 10, 5) == [
        Counted("a", 0.0, 1), Counted("a", 5.0, 2), Counted("a", 10.0, 1),
    ]  # fmt: skip


def test_each_partition_gets_a_closing_line() -> None:
    keys = [line.partition(" ")[0].encode() for line in closing_lines(lines_of(SAMPLE), 4)]
    assert sorted(partition_for_key(key, 4) for key in keys) == [0, 1, 2, 3]


def test_the_audit_finds_what_is_missing_and_what_is_too_much() -> None:
    wanted = reference(lines_of(SAMPLE), KIND_OF)
    assert wanted.malformed == 5
    found = {topic: list(getattr(wanted, topic)) for topic in TOLD}
    faults, line = audit(found, 5, wanted)
    assert faults == []
    assert line.endswith("dead=5 different=0")
    found["sessions"].pop()
    found["pages"].append(found["pages"][0])
    found["bots"][0] = Counted("x", 0.0, 1)
    faults, line = audit(found, 4, wanted)
    assert len(faults) == 4
    assert line.endswith("different=4")


def test_a_burst_of_failures_is_an_alarm_and_a_fast_visitor_a_robot() -> None:
    """No real log at hand has a burst: this one has, in memory, and robots in two partitions."""
    lines = [
        f'{visitor} - - [17/May/2015:10:{at} +0000] "GET /{visitor} HTTP/1.1" {status} 9 "-" "-"'
        for visitor, at, status in (
            *(("quick", f"05:{second:02}", 200) for second in range(25)),
            ("ada", "06:00", 500), ("bob", "05:40", 503), ("eve", "09:59", 500),  # a burst
            ("ada", "10:00", 500), ("bob", "15:00", 404), ("bob", "15:01", 404),  # none
            *(("hasty", f"20:{second:02}", 200) for second in range(20)),
            ("eve", "21:00", 502), ("eve", "21:00", 502),  # another
        )
    ]  # fmt: skip
    wanted = reference([*lines, *closing_lines(lines, PARTITIONS)], {})
    assert [each.count for each in wanted.bursts] == [3, 2]
    assert [each.what for each in wanted.bots] == ["hasty", "quick"]
    with app.test_context() as context:
        for line in [*lines, *closing_lines(lines, PARTITIONS)]:
            context.topic(app.topics["access-lines"]).send(line, key=line.partition(" ")[0])
        context.advance(30)
        for name in ("bursts", "bots", "statuses", "pages", "sessions"):
            told = sorted(context.topic(app.topics[name]).values)
            assert told == [each for each in getattr(wanted, name) if is_told(each)]


def is_told(result: Counted | Session) -> bool:
    """Whether a result is of a line before the closing ones, which close no window of their own."""
    return result.start < hit_time("17/May/2015:23:59:59 +0000")


def hit_time(at: str) -> float:
    return Hit.of_line(f'x - - [{at}] "GET / HTTP/1.1" 200 0 "-" "-"').at


def test_S12_the_pipeline_tells_what_a_single_pass_tells_although_it_is_killed() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "examples.web_analytics.demo", "--kills", "2", "--rate", "800"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.rstrip().endswith("different=0")
