"""Where a worker's lines go, as its app's settings say."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

import flowstream as fs
from flowstream.processing.environment.logs import logging_as
from flowstream.processing.environment.settings import Settings


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_handlers_of_the_app_get_its_lines() -> None:
    told = io.StringIO()
    settings = fs.App("shop", loghandlers=[logging.StreamHandler(told)]).settings
    with logging_as(settings):
        logging.getLogger("flowstream.worker").error("hello")
    assert told.getvalue() == "hello\n"


def test_V2_logging_is_configured_by_a_dict_and_nobody_is_silenced() -> None:
    told = io.StringIO()
    config = {
        "formatters": {"short": {"format": "<%(message)s>"}},
        "handlers": {
            "told": {"class": "logging.StreamHandler", "stream": told, "formatter": "short"}
        },
        "root": {"handlers": ["told"], "level": "WARNING"},
    }
    ours = logging.getLogger("shop")
    with logging_as(fs.App("shop", logging_config=config).settings):
        ours.warning("hello")
        ours.info("nobody hears")
    assert told.getvalue() == "<hello>\n"
    with (
        pytest.raises(fs.SettingsError, match="logging_config cannot be used"),
        logging_as(Settings(logging_config={"root": {"handlers": ["none"]}})),
    ):
        pass


def test_what_is_printed_is_logged(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = fs.App(
        "shop", worker_redirect_stdouts=True, worker_redirect_stdouts_level="INFO"
    ).settings
    with caplog.at_level(logging.INFO), logging_as(settings):
        sys.stdout.write("hel")
        print("lo\n\nworld")
        print("wrong", file=sys.stderr)
        sys.stdout.write("the end")
    assert caplog.record_tuples == [
        ("flowstream.printed", logging.INFO, line)
        for line in ("hello", "world", "wrong", "the end")
    ]
    assert capsys.readouterr() == ("", "")
    with logging_as(fs.App("shop").settings):
        print("seen")
    assert capsys.readouterr().out == "seen\n"


class Prints(logging.Handler):
    """Shows its lines by printing them, as consoles with colours do."""

    def emit(self, record: logging.LogRecord) -> None:
        print("shown:", record.getMessage())


class Full(logging.Handler):
    """Cannot write anything, and says so as the standard library does."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            raise OSError("no space left")
        except OSError:
            self.handleError(record)


def test_V1_a_handler_that_prints_or_fails_ends_where_what_is_printed_is_logged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    logging.getLogger().handlers[:] = []
    with logging_as(Settings(loghandlers=[Prints()], worker_redirect_stdouts=True)):
        print("hello")
        logging.getLogger("shop").warning("world")
    told = capsys.readouterr().err.splitlines()
    assert told == ["shown: hello", "shown: shown: world"]
    logging.getLogger().handlers[:] = []
    with logging_as(Settings(loghandlers=[Full()], worker_redirect_stdouts=True)):
        logging.getLogger("shop").warning("hello")
        print("world")
    assert "no space left" in capsys.readouterr().err
