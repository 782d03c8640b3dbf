"""`flowstream send` from standard input."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowstream.cli.lines import arriving
from tests.cli.visiting import output

SEND = (sys.executable, "-m", "flowstream", "send")


def test_V2_lines_are_sent_as_they_come_and_ctrl_c_ends_the_wait_for_more(data: Path) -> None:
    """From a pipe, all but the first waited for a thousand, or the end; and the first Ctrl-C went
    unheard while standard input was read.
    """
    output(data, "topics", "create", "slow")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*SEND, "slow", "--data", str(data)], stdin=pipe, stdout=pipe, text=True
    ) as sender:
        assert sender.stdin is not None
        assert sender.stdout is not None
        for number in range(3):
            sender.stdin.write(f"line {number}\n")
            sender.stdin.flush()
            assert sender.stdout.readline() == f"slow-0@{number}\n"
        sender.send_signal(signal.SIGINT)
        assert sender.wait(20) == 130


async def test_a_standard_input_that_is_closed_has_no_lines() -> None:
    assert [lines async for lines in arriving(None)] == []


async def lines_of(data: bytes) -> list[str]:
    source = io.TextIOWrapper(io.BytesIO(data))
    return [line async for lines in arriving(source) for line in lines]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\r\n\nb\n", ["a", "", "b"]),
        (b"\xff\xc3\xbc\n", ["\udcffü"]),
        (b"x" * 3_000_000 + b"\ny", ["x" * 3_000_000, "y"]),
    ],
)
async def test_lines_are_whole_however_they_come(data: bytes, lines: list[str]) -> None:
    assert await lines_of(data) == lines
