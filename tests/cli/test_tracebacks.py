"""What a user sees of an error: the way through their own code, and not through ours."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.cli.discovery import AppFailed
from flowstream.cli.tracebacks import place, without_our_frames
from flowstream.cli.worker import tell
from flowstream.errors import FlowstreamError

CODE = """
def declare(app):
    app.Table("my table")

def raise_in_a_library(app):
    import json
    json.loads("{")
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[fs.App], object]]:
    """The functions of a user's module in the current folder."""
    path = tmp_path / "shop.py"
    path.write_text(CODE)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(CODE, str(path), "exec"), names)
    return names


def raised(call: Callable[[fs.App], object]) -> Exception:
    try:
        call(fs.App("a"))
    except (FlowstreamError, ValueError) as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_place_is_the_users_last_line(shop: dict[str, Callable[[fs.App], object]]) -> None:
    assert place(raised(shop["declare"])) == "shop.py:3"
    assert place(raised(shop["raise_in_a_library"])) == "shop.py:7"
    assert place(FlowstreamError("raised by nobody")) is None


def test_our_frames_go_and_a_librarys_stay(shop: dict[str, Callable[[fs.App], object]]) -> None:
    told = traceback.format_exception(without_our_frames(raised(shop["declare"])))
    assert "flowstream/processing" not in "".join(told)
    assert "in declare" in "".join(told)
    told = traceback.format_exception(without_our_frames(raised(shop["raise_in_a_library"])))
    assert "json/decoder.py" in "".join(told)


def test_a_declaration_is_told_in_one_line(
    shop: dict[str, Callable[[fs.App], object]], capsys: pytest.CaptureFixture[str]
) -> None:
    error = raised(shop["declare"])
    assert isinstance(error, fs.AppError)
    tell(error)
    told = capsys.readouterr().err
    assert told.startswith("error: shop.py:3: table name 'my table' is not usable")
    assert told.count("\n") == 1


def test_a_module_that_raises_is_told_with_its_traceback(
    shop: dict[str, Callable[[fs.App], object]],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = AppFailed("module 'shop' cannot be imported")
    failed.__cause__ = raised(shop["raise_in_a_library"])
    tell(failed)
    assert capsys.readouterr().err == "error: module 'shop' cannot be imported\n"
    (record,) = caplog.records
    assert record.getMessage() == "the module raised"
    assert 'shop.py", line 7' in caplog.text


def test_what_no_line_of_the_users_raised_has_no_traceback(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    failed = fs.AgentFailed("agent 'a' failed at offset 0: TypeError: no")
    failed.__cause__ = TypeError("no")
    tell(failed)
    assert not caplog.records
    assert capsys.readouterr().err.count("\n") == 1
