"""A broker process from its data directory to `ready`, and to its end.

Lives here: the order of starting and stopping. Lock first, address second (a taken port must not
cost a recovery), then recovery, then the node's own start, durable, then clients.
"""

from __future__ import annotations

import ipaddress
import logging
import random
from contextlib import ExitStack
from pathlib import Path

from flowstream import clock
from flowstream.broker.config import BrokerConfig, ConfigError
from flowstream.broker.node import Node
from flowstream.broker.opening import open_cores
from flowstream.broker.server.counters import Counters
from flowstream.broker.server.driver import Driver
from flowstream.broker.server.listener import Listener, bind
from flowstream.broker.storage.files import FileStorage
from flowstream.broker.storage.lock import DirectoryLock
from flowstream.broker.types import Instant
from flowstream.errors import StorageError

log = logging.getLogger("flowstream.broker")


class Server:
    """A running broker on the current event loop."""

    def __init__(
        self,
        lock: DirectoryLock,
        storage: FileStorage,
        driver: Driver,
        listener: Listener,
        address: str,
    ) -> None:
        self.address = address
        """HOST:PORT that clients connect to."""
        self.ended = driver.ended
        """Done when the broker stopped by itself, with the reason (D2)."""
        self._lock = lock
        self._storage = storage
        self.driver = driver
        """Its state, to be looked at."""
        self._listener = listener

    async def stop(self) -> None:
        """Stop serving, close the logs cleanly and let go of the directory."""
        self._listener.close()
        try:
            await self.driver.stop()
        finally:
            self._storage.close()
            self._lock.release()


async def start(
    data: Path,
    host: str,
    port: int,
    config: BrokerConfig,
    *,
    fsync: bool,
    insecure_open: bool,
    counters: Counters | None = None,
) -> Server:
    """Open `data` and serve it on `host:port`. Raises FlowstreamError with the reason and the way
    out.
    """
    check_host(host, insecure_open=insecure_open)
    make_directory(data)
    with ExitStack() as undo:
        lock = DirectoryLock(str(data))
        undo.callback(lock.release)
        listening = bind(host, port)
        undo.callback(listening.close)
        storage = FileStorage(str(data))
        undo.callback(storage.close)
        now_ms = clock.SteadyClock().now_ms
        now = Instant(now_ms())
        rng = random.SystemRandom()
        opened = open_cores(storage, storage.perform, config, rng, now, host=host, fsync=fsync)
        for line in opened.report:
            log.warning("%s", line)
        bound_port = opened.cores.address.port = listening.getsockname()[1]
        node = Node(opened.cores)
        driver = Driver(node, storage, now_ms, fsync=fsync, counters=counters)
        driver.start()
        listener = Listener(listening, driver, opened.cores)
        undo.pop_all()
    return Server(lock, storage, driver, listener, f"{host}:{bound_port}")


def make_directory(data: Path) -> None:
    """Make the data directory when it is absent. Raises StorageError."""
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{data}: {error.strerror}: name another directory with --data"
        ) from error


def check_host(host: str, *, insecure_open: bool) -> None:
    """Refuse to serve strangers without authentication, unless told that this is meant (X7)."""
    if insecure_open or is_loopback(host):
        return
    raise ConfigError(
        f"{host} can be reached from other machines and this broker has no authentication yet: "
        "use --host 127.0.0.1, or say --insecure-open if everyone there may read and write"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
