"""PostgreSQL as the database of an outbox. Shell: the only importer of psycopg.

At the default isolation (READ COMMITTED) the row of a place is what serializes: whoever has it
locked is the only one to apply events there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from flowstream.outbox.tables import CREATE, Statements
from flowstream.outbox.target import Known, OutboxRefused, Place

SQL = Statements("%s", " FOR UPDATE")
CREATING = "SELECT pg_advisory_xact_lock(7359220156)"
"""Held while tables are made: two that make one at a time fail, whatever IF NOT EXISTS says."""
ENDED = (
    "the function of an outbox must not begin or end a transaction: its effects commit together"
    " with the position of its events"
)
FAILED = (
    "a statement of the outbox's function failed and the function went on: nothing of it can be"
    " committed any more. Let the error pass, or have the statement in a `with"
    " connection.transaction():` of its own, which undoes it alone"
)


class PostgresSession:
    """One connection."""

    def __init__(self, conninfo: str, timeout_s: float) -> None:
        self.connection: psycopg.Connection[Any] = psycopg.connect(
            conninfo, autocommit=True, connect_timeout=max(1, round(timeout_s))
        )
        with self.transaction():
            self.connection.execute(CREATING)
            for statement in CREATE:
                self.connection.execute(statement.encode())

    @property
    def is_broken(self) -> bool:
        """Whether the server, or the way to it, is gone."""
        return self.connection.closed

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of the block."""
        with self.connection.transaction():
            yield

    @contextmanager
    def lent(self) -> Iterator[None]:
        """See `Session.lent`. psycopg refuses `commit()`; a COMMIT as a statement is noticed here,
        when it has happened.
        """
        try:
            yield
        except psycopg.ProgrammingError as error:
            if "forbidden within a Transaction" in str(error):
                raise OutboxRefused(ENDED) from error
            raise
        status = self.connection.info.transaction_status
        if status is TransactionStatus.INERROR:
            raise psycopg.errors.InFailedSqlTransaction(FAILED)
        if status is not TransactionStatus.INTRANS:
            self.connection.close()
            raise OutboxRefused(f"{ENDED}. What it did is committed without it: mend it by hand")

    def enter(self, place: Place) -> Known | None:
        """See `Session.enter`."""
        row = self.connection.execute(SQL.select.encode(), place).fetchone()
        return None if row is None else Known(*row)

    def is_new_to(self, app: str, outbox: str) -> bool:
        """See `Session.is_new_to`."""
        row = self.connection.execute(SQL.known.encode(), (app, outbox)).fetchone()
        return bool(row == (0,))

    def begin(self, place: Place, known: Known) -> Known:
        """See `Session.begin`."""
        self.connection.execute(SQL.insert.encode(), (*place, *known))
        found = self.enter(place)
        assert found is not None, "it was there, or it was made"
        return found

    def advance(self, place: Place, next_offset: int) -> None:
        """See `Session.advance`."""
        self.connection.execute(SQL.update.encode(), (next_offset, *place))

    def replace(self, place: Place, known: Known) -> None:
        """See `Session.replace`."""
        self.connection.execute(SQL.replace.encode(), (*place, *known))

    def put_aside(self, place: Place, offset: int, reason: str) -> None:
        """See `Session.put_aside`."""
        text = reason.replace("\x00", "")
        self.connection.execute(SQL.put_aside.encode(), (*place, offset, text))

    def aside(self, place: Place, first: int, end: int) -> Mapping[int, str]:
        """See `Session.aside`."""
        return dict(self.connection.execute(SQL.aside.encode(), (*place, first, end)).fetchall())

    def close(self) -> None:
        """Let the connection go."""
        self.connection.close()
