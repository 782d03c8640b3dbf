"""What flows: a hit on the site, and what is told of hits."""

from __future__ import annotations

import datetime
import re
from urllib.parse import urlsplit

import msgspec

LINE = re.compile(
    r'(?P<visitor>\S+) \S+ \S+ \[(?P<at>[^\]]+)\] "(?P<method>[A-Z]+) (?P<path>\S+)[^"]*"'
    r' (?P<status>\d{3}) (?P<size>\d+|-) "(?P<referrer>[^"]*)" "(?P<agent>.*)"$'
)
TIME = "%d/%b/%Y:%H:%M:%S %z"
DIRECT = "direct"


class Hit(msgspec.Struct, frozen=True):
    """One request; `at` is in seconds, `referrer` a host name."""

    visitor: str
    at: float
    path: str
    status: int
    size: int
    referrer: str

    @classmethod
    def of_line(cls, line: str) -> Hit:
        """A line of the combined log format. ValueError when it is none."""
        found = LINE.match(line)
        if found is None:
            raise ValueError("not a line of the combined log format")
        at = datetime.datetime.strptime(found["at"], TIME).timestamp()
        host = urlsplit(found["referrer"]).hostname or DIRECT
        size = 0 if found["size"] == "-" else int(found["size"])
        path = found["path"].partition("?")[0]
        return cls(found["visitor"], at, path, int(found["status"]), size, host)


class Session(msgspec.Struct, frozen=True, order=True):
    """What one visitor did without a pause of half an hour."""

    visitor: str
    start: float
    seconds: float
    pages: int
    bytes: int
    referrer: str


class Counted(msgspec.Struct, frozen=True, order=True):
    """How often something came in a window that began at `start`."""

    what: str
    start: float
    count: int


class Referral(msgspec.Struct, frozen=True, order=True):
    """A session and the kind of site that it came from."""

    visitor: str
    start: float
    kind: str
