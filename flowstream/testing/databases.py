"""The databases of an app's outboxes, for the length of a test: files of the test's own.

Shell. What a test writes has no place in the file that the app names, and what another test has
written there would count as done already: partitions, offsets and ids of topics are the same again.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from flowstream.outbox.sqlite import SQLite, SQLiteSession
from flowstream.outbox.target import Target
from flowstream.processing.app import App
from flowstream.processing.declarations.outboxes import Outbox


class Databases:
    """Empty SQLite files in place of those that the app names; PostgreSQL stays what it is."""

    def __init__(self, app: App) -> None:
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._stand_ins: dict[str | bytes, SQLite] = {}
        self._named: list[tuple[Outbox[Any], Target]] = []
        self._opened: dict[SQLite, SQLiteSession] = {}
        for agent in app.agents.values():
            if isinstance(agent, Outbox) and isinstance(agent.target, SQLite):
                self._named.append((agent, agent.write_to(self._stand_in(agent.target))))

    def _stand_in(self, named: SQLite) -> SQLite:
        """Outboxes of one file have one file here, too."""
        path = os.fspath(named.path)
        if path not in self._stand_ins:
            if self._directory is None:
                self._directory = tempfile.TemporaryDirectory(prefix="flowstream-test-")
            name = f"{len(self._stand_ins)}.db"
            self._stand_ins[path] = SQLite(Path(self._directory.name, name), named.timeout)
        return self._stand_ins[path]

    def connection(self, outbox: object) -> Any:
        """A `sqlite3.Connection` to what an outbox writes."""
        target = outbox.target if isinstance(outbox, Outbox) else None
        if not isinstance(target, SQLite) or target not in self._stand_ins.values():
            raise ValueError(f"{outbox!r} is no outbox of this app with to=fs.SQLite(...)")
        if target not in self._opened:
            self._opened[target] = target.connect()
        return self._opened[target].connection

    def close(self) -> None:
        """Give the outboxes their own databases back."""
        for outbox, target in self._named:
            outbox.write_to(target)
        for session in self._opened.values():
            session.close()
        self._named.clear()
        self._opened.clear()
        if self._directory is not None:
            self._directory.cleanup()
