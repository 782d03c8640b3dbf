"""Databases for outbox tests: a SQLite file, and a PostgreSQL server if this machine has one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import flowstream as fs
from flowstream.outbox.target import Target

WHERE = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
USERS = ("postgres", "nobody")
"""The server refuses to run as root."""


def binaries() -> Path | None:
    """The directory of initdb and postgres."""
    found = [Path(path) for path in (shutil.which("initdb"),) if path]
    for pattern in WHERE:
        found += sorted(Path("/").glob(f"{pattern.removeprefix('/')}/initdb"), reverse=True)
    return found[0].resolve().parent if found else None


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The connection string of a PostgreSQL server that listens on a socket in its directory.

    FLOWSTREAM_TEST_POSTGRES names one that runs already; tests make databases of their own there.
    """
    running = os.environ.get("FLOWSTREAM_TEST_POSTGRES")
    if running:
        yield running
        return
    where = binaries()
    if where is None:
        pytest.skip("no PostgreSQL on this machine: install it, or set FLOWSTREAM_TEST_POSTGRES")
    directory = Path(tempfile.mkdtemp(prefix="flowstream-pg-"))
    how: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL,
                           "cwd": directory}  # fmt: skip
    if os.geteuid() == 0:
        import pwd

        known = {entry.pw_name for entry in pwd.getpwall()}
        how["user"] = next(user for user in USERS if user in known)
        shutil.chown(directory, how["user"])
    data = directory / "data"
    subprocess.run(
        [where / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-N"], check=True, **how
    )
    command = [where / "postgres", "-D", data, "-k", directory, "-h", "", "-c", "fsync=off"]
    with subprocess.Popen(command, **how) as process:
        conninfo = f"host={directory} user=tester dbname=postgres"
        try:
            ready = [where / "pg_isready", "-h", directory, "-t", "30", "-q"]
            for _ in range(300):
                if subprocess.run(ready, **how, check=False).returncode == 0:
                    break
                process.poll()
                assert process.returncode is None, "the server ended"
            yield conninfo
        finally:
            process.terminate()
            process.wait(30)
            shutil.rmtree(directory, ignore_errors=True)


class Sqlite:
    """A SQLite file, for the app and for the test."""

    mark = "?"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.target: Target = fs.SQLite(path)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database has, seen from outside."""
        session = fs.SQLite(self.path).connect()
        try:
            return list(session.connection.execute(query).fetchall())
        finally:
            session.close()

    @property
    def named(self) -> str:
        """For another process."""
        return f"sqlite:{self.path}"

    @property
    def declared(self) -> str:
        """For a module."""
        return f"fs.SQLite({str(self.path)!r})"

    def empty(self) -> None:
        """Another file in its place."""
        self.path.unlink()
        prepare(self.target)


class Postgres:
    """A database of a PostgreSQL server."""

    mark = "%s"

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.target: Target = fs.PostgreSQL(conninfo)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database has, seen from outside."""
        with psycopg.connect(self.conninfo) as connection:
            return list(connection.execute(query.encode()).fetchall())

    @property
    def named(self) -> str:
        """For another process."""
        return f"postgres:{self.conninfo}"

    @property
    def declared(self) -> str:
        """For a module."""
        return f"fs.PostgreSQL({self.conninfo!r})"

    def empty(self) -> None:
        """As one that was made anew."""
        with psycopg.connect(self.conninfo) as connection:
            for table in (b"flowstream_offsets", b"flowstream_aside", b"effects"):
                connection.execute(b"DROP TABLE " + table)
        prepare(self.target)


def prepare(target: Target) -> None:
    """Make the table of effects."""
    session = target.connect()
    session.connection.execute("CREATE TABLE effects (who TEXT, what TEXT)")
    session.close()


Database = Sqlite | Postgres
_made = 0


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database with a table for effects that would show one done twice."""
    global _made
    made: Database
    if request.param == "sqlite":
        made = Sqlite(tmp_path / "effects.db")
    else:
        server: str = request.getfixturevalue("server")
        _made += 1
        with psycopg.connect(server, autocommit=True) as connection:
            name = f"effects_{os.getpid()}_{_made}"
            connection.execute(f"CREATE DATABASE {name}".encode())
        made = Postgres(server.replace("dbname=postgres", f"dbname={name}"))
    prepare(made.target)
    return made
