"""The bar that a person at a terminal sees while tables are restored; a log has lines instead."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from rich.console import Console

from flowstream.cli.restore_bar import RestoreBar
from flowstream.processing.stores.restoring import Progress


def progress(done: int) -> Progress:
    """Half a second after it began at instant 1,000."""
    return Progress(total=2_000, done=done, rows=done, began_ms=1_000, told_ms=1_000)


def test_share_rate_and_time_left_are_drawn() -> None:
    screen = io.StringIO()
    bar = RestoreBar(Console(file=screen, force_terminal=True, width=100))
    shown = []
    for done, now_ms in ((500, 1_499), (500, 2_000), (1_500, 4_000), (2_000, 5_000)):
        bar.look(progress(done), now_ms)
        shown.append(bar.is_shown)
    assert shown == [False, True, True, False], "not before it takes long, nor after it is done"
    drawn = screen.getvalue()
    assert "restoring tables" in drawn
    assert "75%  500 records/s" in drawn
    assert "1 s left" in drawn
    bar.look(Progress(), 9_000)
    assert screen.getvalue() == drawn


def test_lines_that_say_the_same_are_left_out_while_there_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bar = RestoreBar(Console(file=io.StringIO(), force_terminal=True, width=100))
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [*logging.getLogger().handlers, handler])
    bar.look(progress(500), 2_000)
    assert handler.stream is sys.stderr
    progress(500).tell(2_000)
    logging.getLogger("flowstream.restore").info("table 'x' is rebuilt")
    bar.hide()
    progress(500).tell(2_000)
    assert caplog.messages == [
        "table 'x' is rebuilt",
        "restoring tables: 25% (500 of 2000), 500 records/s, 3 s left",
    ]
