"""Where a worker's log lines go: standard error or a file, and what its app says of that."""

from __future__ import annotations

import contextlib
import io
import logging
import logging.config
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import SettingsError
from flowstream.sparing import Sparing, and_more

log = logging.getLogger("flowstream.worker")

OUTAGES = "flowstream.cluster"
PASSING = ("Unable to connect", "Unable connect", "Unable to update metadata", "Failed fetch")
"""How the client library's lines begin about a broker that is away."""
PRINTED = "flowstream.printed"


def level_of(said: str | int) -> int:
    """A level by its name or number; SettingsError when there is no such thing."""
    found = said if isinstance(said, int) else logging.getLevelNamesMapping().get(said.upper())
    if found is None:
        raise SettingsError(f"loglevel {said!r} is not debug, info, warning or error")
    return found


def configure_logging(
    level: int, logfile: str | Path | TextIO | None = None, *, quiet: bool = False
) -> Sparingly:
    """Log lines on standard error, or in a file; the client library speaks up from errors on. Quiet
    is only what goes to no file.
    """
    to: dict[str, Any] = {"filename": logfile}
    if hasattr(logfile, "write"):
        to = {"stream": logfile}
    elif quiet and logfile is None:
        to = {"handlers": [logging.NullHandler()]}
    logging.basicConfig(
        level=level,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        force=True,
        **to,
    )
    for chatty in ("asyncio", "httpx"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    # It logs every listener error and reconnect that the worker handles and reports itself.
    logging.getLogger("aiokafka").setLevel(max(level, logging.ERROR))
    # What keeps a partition from being read is only a warning there, tried again for ever (V2).
    logging.getLogger("aiokafka.consumer.fetcher").setLevel(max(level, logging.WARNING))
    sparingly = Sparingly("aiokafka")
    for handler in logging.getLogger().handlers:
        handler.addFilter(sparingly)
    return sparingly


class Sparingly(logging.Filter):
    """Lets a library speak once in a while: a broker that is away for a moment is good for dozens
    of lines, and the first one says it. The others are counted.
    """

    def __init__(self, name: str, *, seconds: float = 10.0) -> None:
        super().__init__(name)
        self._lines = Sparing(seconds)
        self._silent_until = 0.0
        self._last: logging.LogRecord | None = None
        """The last line, if it was left out."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show it: everything of others, and the first for a while of this library; none
        beside a line of ours about the same.
        """
        if not super().filter(record):
            if record.name == OUTAGES and record.levelno >= logging.WARNING:
                self._silent_until = record.created + self._lines.every_s
            return True
        if record.levelno == logging.ERROR and record.msg.startswith(PASSING):
            # It tries again, and what comes of it is the worker's to say.
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        if record.created < self._silent_until:
            return False
        left_out = self._lines.tells(record.created)
        self._last = record if left_out is None else None
        if left_out:
            record.msg, record.args = record.getMessage() + and_more(left_out), None
        return left_out is not None

    def flush(self) -> None:
        """Tell of what was left out last, if anything was."""
        record, self._last = self._last, None
        if record is not None:
            more = and_more(self._lines.rest() - 1)
            log.warning("%s: %s%s", record.name, record.getMessage(), more)


@dataclass(frozen=True, slots=True)
class Output:
    """What a worker is to say, and where: its log, and the lines that it starts with."""

    loglevel: str | int = "info"
    logfile: str | Path | TextIO | None = None
    quiet: bool = False

    def begin(self) -> Sparingly:
        """Log so from now on."""
        return configure_logging(level_of(self.loglevel), self.logfile, quiet=self.quiet)


@contextlib.contextmanager
def logging_as(settings: Settings) -> Iterator[None]:
    """Log as the app's settings say, for the length of a block."""
    if settings.logging_config is not None:
        try:
            # Ours are there by now, and what they say of errors is nobody's to lose (V2).
            ours = {"version": 1, "disable_existing_loggers": False}
            logging.config.dictConfig({**ours, **settings.logging_config})
        except (ValueError, TypeError, AttributeError, ImportError) as error:
            raise SettingsError(f"logging_config cannot be used: {error}") from error
    for handler in settings.loghandlers or ():
        logging.getLogger().addHandler(handler)
    if not settings.worker_redirect_stdouts:
        yield
        return
    printed = Printed(settings.worker_redirect_stdouts_level, sys.stderr)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield
    finally:
        printed.end()


class Printed(io.TextIOBase):
    """Takes what is printed, and logs it line by line. What is printed while it does so goes beside
    the log: a handler that prints its lines, or tells that it cannot write them, never came to an
    end.
    """

    def __init__(self, level: str, beside: TextIO) -> None:
        self._level = logging.getLevelNamesMapping()[level.upper()]
        self._beside = beside
        self._thread = threading.local()
        self._begun = ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Log what lines are whole now."""
        if getattr(self._thread, "is_logging", False):
            return self._beside.write(text)
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._log(line)
        return len(text)

    def end(self) -> None:
        """Log what is left."""
        self._log(self._begun)
        self._begun = ""

    def _log(self, line: str) -> None:
        if not line.strip():
            return
        self._thread.is_logging = True
        try:
            logging.getLogger(PRINTED).log(self._level, "%s", line)
        finally:
            self._thread.is_logging = False
