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
from flowstream.outbox.target import Known, OutboxRefused, Place, PlaceHeld

SQL = Statements("%s", " FOR UPDATE NOWAIT")
"""A worker that is stopped (SIGSTOP) keeps its lock for as long as the server believes in it: who
waited for that in the server would wait in silence, and could not be called off.
"""
PATIENCE = "SET LOCAL lock_timeout = '2s'"
IMPATIENCE = "SET LOCAL lock_timeout TO DEFAULT"
"""What the function of an outbox waits for is its own affair."""
HOLDER = (
    "SELECT a.pid, a.application_name, host(a.client_addr), a.client_port, a.state,"
    " round(extract(epoch FROM clock_timestamp() - a.xact_start))"
    " FROM flowstream_offsets o"
    " JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = o.xmax"
    " JOIN pg_stat_activity a ON a.pid = l.pid"
    " WHERE o.app = %s AND o.outbox = %s AND o.topic = %s AND o.part = %s"
)
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
            self.connection.execute(PATIENCE)
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
        try:
            row = self.connection.execute(SQL.select.encode(), place).fetchone()
        except psycopg.errors.LockNotAvailable as error:
            raise PlaceHeld(held(place)) from error
        return None if row is None else Known(*row)

    def is_new_to(self, app: str, outbox: str) -> bool:
        """See `Session.is_new_to`."""
        row = self.connection.execute(SQL.known.encode(), (app, outbox)).fetchone()
        return bool(row == (0,))

    def begin(self, place: Place, known: Known) -> Known:
        """See `Session.begin`."""
        self.connection.execute(PATIENCE)
        try:
            self.connection.execute(SQL.insert.encode(), (*place, *known))
        except psycopg.errors.LockNotAvailable as error:
            raise PlaceHeld(held(place)) from error
        self.connection.execute(IMPATIENCE)
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

    def holder(self, place: Place) -> str:
        """See `Session.holder`. One that makes the place known cannot be seen from outside."""
        row = self.connection.execute(HOLDER.encode(), place).fetchone()
        if row is None:
            return "a transaction"
        pid, program, host, port, state, seconds = row
        return (
            f"the transaction of PostgreSQL's process {pid} (application {program or 'unnamed'},"
            f" client {f'{host}:{port}' if host else 'of this machine'}, {state or 'unseen'},"
            f" begun {seconds or 0:.0f} s ago; `SELECT pg_terminate_backend({pid})` ends it)"
        )

    def close(self) -> None:
        """Let the connection go."""
        self.connection.close()


def held(place: Place) -> str:
    """What is wrong where a place cannot be entered."""
    app, outbox, topic, partition = place
    return f"outbox {outbox!r} of app {app!r}, {topic}-{partition}: its row is locked"
