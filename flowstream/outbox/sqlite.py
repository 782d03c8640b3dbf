"""SQLite as the database of an outbox. Shell: the only code here that uses `sqlite3`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from flowstream.outbox.tables import CREATE, Statements
from flowstream.outbox.target import Known, OutboxRefused, Place

SQL = Statements("?", "")

ROLLED_BACK = (
    "a statement of the outbox's function ended the transaction (OR ROLLBACK, RAISE(ROLLBACK), or"
    " a disk that is full): let its error pass, or use OR ABORT, which undoes the statement alone"
)


def _all_but_ending(action: int, *_: object) -> int:
    """What the user's function may do (see `sqlite3.Connection.set_authorizer`)."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK


class Lent(sqlite3.Connection):
    """A connection whose statements run in the transaction that is open, while it is lent.

    SQLite asks an authorizer only about statements that are new to it: so each is looked at here.
    """

    is_lent = False

    def stay_inside(self) -> None:
        """Refuse to go on where an error has ended the transaction: what came would be committed by
        itself, and come again with its batch.
        """
        if self.is_lent and not self.in_transaction:
            raise sqlite3.OperationalError(ROLLED_BACK)

    def cursor(self, factory: Any = None) -> Any:
        """As of any connection."""
        return super().cursor(LentCursor if factory is None else factory)

    def execute(self, *given: Any) -> sqlite3.Cursor:
        """As of any connection."""
        self.stay_inside()
        return super().execute(*given)

    def executemany(self, *given: Any) -> sqlite3.Cursor:
        """As of any connection."""
        self.stay_inside()
        return super().executemany(*given)

    def executescript(self, *given: Any) -> sqlite3.Cursor:
        """As of any connection; it begins with a COMMIT, which is refused."""
        self.stay_inside()
        return super().executescript(*given)


class LentCursor(sqlite3.Cursor):
    """A cursor of such a connection."""

    connection: Lent

    def execute(self, *given: Any) -> Self:
        """As of any cursor."""
        self.connection.stay_inside()
        return super().execute(*given)

    def executemany(self, *given: Any) -> Self:
        """As of any cursor."""
        self.connection.stay_inside()
        return super().executemany(*given)

    def executescript(self, *given: Any) -> Self:
        """As of any cursor."""
        self.connection.stay_inside()
        super().executescript(*given)
        return self


@dataclass(frozen=True, slots=True)
class SQLite:
    """A SQLite file. `timeout`: how long to wait while others write to it, in seconds."""

    path: str | os.PathLike[str]
    timeout: float = 30.0

    def connect(self) -> SQLiteSession:
        """Open it; it is made when it is missing."""
        return SQLiteSession(self)


class SQLiteSession:
    """One connection."""

    is_broken = False

    def __init__(self, database: SQLite) -> None:
        self.connection = sqlite3.connect(
            database.path, timeout=database.timeout, isolation_level=None, factory=Lent
        )
        with self.transaction():
            for statement in CREATE:
                self.connection.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of the block; writers come one after the other."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def lent(self) -> Iterator[None]:
        """See `Session.lent`: BEGIN, COMMIT and ROLLBACK are refused by SQLite, and every statement
        once an error has ended the transaction, and the function gone on after it.
        """
        self.connection.set_authorizer(_all_but_ending)
        self.connection.is_lent = True
        try:
            yield
            if not self.connection.in_transaction:
                raise sqlite3.OperationalError(ROLLED_BACK)
        except sqlite3.DatabaseError as error:
            if "not authorized" in str(error):
                raise OutboxRefused(
                    "the function of an outbox must not begin or end a transaction: its effects"
                    " commit together with the position of its events"
                ) from error
            raise
        finally:
            self.connection.is_lent = False
            self.connection.set_authorizer(None)

    def enter(self, place: Place) -> Known | None:
        """See `Session.enter`; the whole file is ours since BEGIN IMMEDIATE."""
        row = self.connection.execute(SQL.select, place).fetchone()
        return None if row is None else Known(*row)

    def is_new_to(self, app: str, outbox: str) -> bool:
        """See `Session.is_new_to`."""
        row = self.connection.execute(SQL.known, (app, outbox)).fetchone()
        return bool(row == (0,))

    def begin(self, place: Place, known: Known) -> Known:
        """See `Session.begin`."""
        self.connection.execute(SQL.insert, (*place, *known))
        return Known(*self.connection.execute(SQL.select, place).fetchone())

    def advance(self, place: Place, next_offset: int) -> None:
        """See `Session.advance`."""
        self.connection.execute(SQL.update, (next_offset, *place))

    def replace(self, place: Place, known: Known) -> None:
        """See `Session.replace`."""
        self.connection.execute(SQL.replace, (*place, *known))

    def put_aside(self, place: Place, offset: int, reason: str) -> None:
        """See `Session.put_aside`."""
        self.connection.execute(SQL.put_aside, (*place, offset, reason))

    def aside(self, place: Place, first: int, end: int) -> Mapping[int, str]:
        """See `Session.aside`."""
        return dict(self.connection.execute(SQL.aside, (*place, first, end)).fetchall())

    def holder(self, place: Place) -> str:
        """See `Session.holder`: a file does not say."""
        return "somebody"

    def close(self) -> None:
        """Let the file go."""
        self.connection.close()
