"""PostgreSQL as an app names it, whether or not its driver is installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from flowstream.errors import FlowstreamError
from flowstream.outbox.target import Session


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """A PostgreSQL database, by a connection string or URL of libpq: what it leaves out comes from
    PGHOST, PGPASSWORD and the like, or the password file. Needs `pip install psycopg[binary]`.
    """

    conninfo: str = ""
    timeout: float = 10.0
    """How long to wait for a connection, in seconds."""

    def __post_init__(self) -> None:
        if find_spec("psycopg") is None:
            raise FlowstreamError(
                "an outbox to PostgreSQL needs its driver: pip install 'psycopg[binary]'"
            )

    def __repr__(self) -> str:
        return "PostgreSQL(...)"  # it may hold a password (X5)

    def connect(self) -> Session:
        """Open a connection."""
        from flowstream.outbox.postgres import PostgresSession

        return PostgresSession(self.conninfo, self.timeout)
