"""For tests of your own apps: a real broker inside the test, on a free port, gone at its end.

async with Broker() as broker:
    app = flowstream.App("shop", broker=f"kafka://{broker.address}", data_dir=tmp_path)
    worker = flowstream.Worker(app, broker.address)

Each test needs a `data_dir` of its own (pytest's `tmp_path`): a table's state outlives the broker,
and a fresh broker has no changelog for it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from flowstream.broker.config import BrokerConfig
from flowstream.broker.server.bootstrap import Server, start

__all__ = ["Broker"]


class Broker:
    """The integrated broker on the running event loop, on loopback, with a directory of its own.

    `settings` are Kafka's names for broker settings; `data` keeps the directory over several
    brokers, to test a restart (it is the caller's then, and is not removed). `users` with their
    passwords can log in where `listeners` asks for that.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        data: Path | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = dict(settings or {})
        self._users = dict(users or {})
        self._data = data
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._server: Server | None = None

    @property
    def address(self) -> str:
        """HOST:PORT for any Kafka client. Raises RuntimeError outside `async with`."""
        if self._server is None:
            raise RuntimeError("the broker runs only inside `async with Broker() as broker`")
        return self._server.address

    def port(self, listener: str) -> int:
        """The port of a listener, when `listeners` names several."""
        if self._server is None:
            raise RuntimeError("the broker runs only inside `async with Broker() as broker`")
        return self._server.ports[listener]

    async def __aenter__(self) -> Broker:
        """Start; ready when this returns."""
        config = BrokerConfig.of(self._settings)
        if self._data is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="flowstream-test-")
        data = self._data or Path(self._temporary.name if self._temporary else "")
        try:
            self._server = await start(
                data, "127.0.0.1", 0, config, fsync=False, insecure_open=False, users=self._users
            )
        except BaseException:
            self._forget()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop cleanly and remove the directory, unless it is the caller's."""
        server, self._server = self._server, None
        try:
            if server is not None:
                await server.stop()
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
