"""The databases of an app's outboxes, for the length of a test: of the test's own.

Shell. What a test writes has no place in the database that the app names, and what another test has
written there would count as done already: partitions, offsets and ids of topics are the same again.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from flowstream.outbox.sqlite import SQLite
from flowstream.outbox.tables import TABLES
from flowstream.outbox.target import Session, Target
from flowstream.processing.app import App
from flowstream.processing.declarations.outboxes import Outbox

Given = Mapping[Any, Target | Callable[[], Target]]
"""By outbox, or its name: a database of the test's own, or what makes an empty one."""

R = TypeVar("R")
SQLITE_TABLES = (
    "SELECT '\"' || replace(name, '\"', '\"\"') || '\"' FROM sqlite_master WHERE type = 'table'"
    f" AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT IN {TABLES}"
)
POSTGRESQL_TABLES = (
    "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name)"
    " FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
    " AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    f" AND table_name NOT IN {TABLES}"
)


class Databases:
    """Empty SQLite files in place of those that the app names, and what the test gives."""

    def __init__(self, app: App, given: Given) -> None:
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._stand_ins: dict[str | bytes, SQLite] = {}
        self._opened: dict[int, Session] = {}
        self._named: list[tuple[Outbox[Any], Target]] = []
        self._outboxes = [agent for agent in app.agents.values() if isinstance(agent, Outbox)]
        try:
            chosen = self._chosen(app, given)
        except BaseException:
            self.close()
            raise
        for outbox, target in chosen:
            self._named.append((outbox, outbox.write_to(target)))

    def _chosen(self, app: App, given: Given) -> list[tuple[Outbox[Any], Target]]:
        """What each outbox writes; ValueError, before anything is changed, where that is not for a
        test.
        """
        wanted = _by_name(given, self._outboxes, "databases")
        chosen: list[tuple[Outbox[Any], Target]] = []
        for outbox in self._outboxes:
            target = wanted.get(outbox.name)
            if target is not None:
                made = target() if callable(target) else target
                self._refuse_used(app, outbox, made)
                chosen.append((outbox, made))
            elif isinstance(outbox.target, SQLite):
                chosen.append((outbox, self._stand_in(outbox.target)))
            else:
                raise ValueError(
                    f"outbox {outbox.name!r} writes into {outbox.target!r}, which is no database of"
                    f" a test: name an empty one, databases={{{outbox.name!r}: fs.PostgreSQL(...)}}"
                )
        return chosen

    def adopt(self, app: App) -> None:
        """The same for the outboxes of this app, which is made as the first one was."""
        targets = {outbox.name: outbox.target for outbox in self._outboxes}
        for agent in app.agents.values():
            if isinstance(agent, Outbox):
                agent.write_to(targets[agent.name])

    @staticmethod
    def _refuse_used(app: App, outbox: Outbox[Any], target: Target) -> None:
        if not callable(getattr(target, "connect", None)):
            raise ValueError(
                f"databases= gives outbox {outbox.name!r} {target!r:.60}, which is no database:"
                " fs.PostgreSQL(...) or fs.SQLite(...) are"
            )
        session = target.connect()
        try:
            if session.is_new_to(app.id, outbox.name):
                return
        finally:
            session.close()
        raise ValueError(
            f"the database that databases= gives to outbox {outbox.name!r} has events of it already"
            " (another test's, or worse), so that those of this test would count as done: give each"
            " test an empty one"
        )

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
        """The driver's connection to what an outbox writes."""
        if outbox not in self._outboxes:
            raise ValueError(f"{outbox!r} is no outbox of this app")
        assert isinstance(outbox, Outbox)
        key = id(outbox.target)
        if key not in self._opened:
            self._opened[key] = outbox.target.connect()
        return self._opened[key].connection

    def rows(self, queries: Mapping[Any, str]) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
        """What is in the databases, table by table, all but what outboxes keep for themselves; of
        one with a query for an outbox (or its name) what that gives. ValueError for a query that
        leaves out what another outbox writes there.
        """
        asked = _by_name(queries, self._outboxes, "queries")
        sharing: dict[int, list[Outbox[Any]]] = {}
        for outbox in self._outboxes:
            sharing.setdefault(id(outbox.target), []).append(outbox)
        for outboxes in sharing.values():
            connection = self.connection(outboxes[0])
            wanted = {
                f"what outbox {outbox.name} wrote": asked[outbox.name]
                for outbox in outboxes
                if outbox.name in asked
            }
            names = ", ".join(outbox.name for outbox in outboxes)
            unasked = [repr(outbox.name) for outbox in outboxes if outbox.name not in asked]
            if wanted and unasked:
                raise ValueError(
                    f"outboxes {names} write into one database, and which tables are whose nobody"
                    f" knows: give queries= one for {', '.join(unasked)}, too"
                )
            for what, query in (wanted or _all_of(connection, names)).items():
                yield what, [tuple(row) for row in connection.execute(query).fetchall()]

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


def _all_of(connection: Any, outboxes: str) -> dict[str, str]:
    """Queries of all tables that outboxes have filled."""
    tables = SQLITE_TABLES if isinstance(connection, sqlite3.Connection) else POSTGRESQL_TABLES
    found = connection.execute(tables).fetchall()
    return {f"{name} of outbox {outboxes}": f"SELECT * FROM {name}" for (name,) in found}


def _by_name(given: Mapping[Any, R], outboxes: Sequence[Outbox[Any]], what: str) -> dict[str, R]:
    """By names of outboxes; ValueError for what is none."""
    named = {getattr(outbox, "name", outbox): each for outbox, each in given.items()}
    unknown = named.keys() - {outbox.name for outbox in outboxes}
    if unknown:
        listed = ", ".join(sorted(map(repr, unknown)))
        raise ValueError(f"{what}= names {listed}, which is no outbox of this app")
    return named
