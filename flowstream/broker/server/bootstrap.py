"""A broker process from its data directory to `ready`, and to its end.

Lives here: the order of starting and stopping. Lock first, addresses and certificates second (a
taken port must not cost a recovery), then recovery, then the node's own start, durable, then
clients.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from flowstream import clock
from flowstream.broker.config import BrokerConfig
from flowstream.broker.cores import Cores, Endpoint
from flowstream.broker.doors import Random, Storage
from flowstream.broker.metadata.records import MetadataRecord
from flowstream.broker.node import Node
from flowstream.broker.opening import Opened, open_cores
from flowstream.broker.security.listeners import PROTOCOLS, ListenerSpec, parse_listeners
from flowstream.broker.server.counters import Counters
from flowstream.broker.server.driver import Driver
from flowstream.broker.server.listener import ConnectionIds, Listener, bind, tls_context
from flowstream.broker.server.ports import written
from flowstream.broker.server.securing import check_listeners, is_secured
from flowstream.broker.storage.disk import Disk
from flowstream.broker.storage.lock import DirectoryLock
from flowstream.broker.types import Instant
from flowstream.errors import StorageError

if TYPE_CHECKING:
    from flowstream.broker.server.token_keys import KeySource

log = logging.getLogger("flowstream.broker")


class Server:
    """A running broker on the current event loop."""

    def __init__(
        self,
        lock: DirectoryLock,
        storage: Disk,
        driver: Driver,
        listeners: Mapping[str, Listener],
        address: str,
        keys: KeySource | None,
    ) -> None:
        self.address = address
        """HOST:PORT that clients of the first listener connect to."""
        self.ports = {name: listener.port for name, listener in listeners.items()}
        """The port of each listener."""
        self.ended = driver.ended
        """Done when the broker stopped by itself, with the reason (D2)."""
        self._lock = lock
        self._storage = storage
        self.driver = driver
        """Its state, to be looked at."""
        self._listeners = listeners
        self._keys = keys

    @property
    def can_reload(self) -> bool:
        """Whether there are certificates, or keys of tokens."""
        return self._keys is not None or any(each.tls for each in self._listeners.values())

    def reload(self) -> None:
        """Load certificates and the keys of tokens now; bad ones leave the old ones in force."""
        for listener in self._listeners.values():
            listener.reload()
        if self._keys is not None:
            self._keys.refresh()

    def tell_address(self) -> None:
        """Let who finds the directory in use know where its broker is: it stays until it is told
        to end.
        """
        self._lock.tell(self.address)

    async def stop(self) -> None:
        """Stop serving, close the logs cleanly and let go of the directory."""
        for listener in self._listeners.values():
            listener.close()
        if self._keys is not None:
            self._keys.close()
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
    users: Mapping[str, str] | None = None,
) -> Server:
    """Open `data` and serve it on the listeners of `config`, else on `host:port`. `users` with
    their passwords get credentials if they have none. Raises FlowstreamError with the reason and
    the way out.
    """
    specs = parse_listeners(config, host, port)
    check_listeners(specs, insecure_open=insecure_open)
    make_directory(data)
    with ExitStack() as undo:
        lock = DirectoryLock(str(data))
        undo.callback(lock.release)
        bound = []
        for spec in specs:
            bound.append(bind(spec.host, spec.port))
            undo.callback(bound[-1].close)
        contexts = [tls_context(spec, config.ssl_principal_mapping_rules) for spec in specs]
        storage = Disk(data, fsync=fsync)
        undo.callback(storage.close)
        now_ms = clock.SteadyClock().now_ms
        now = Instant(now_ms())
        rng = random.SystemRandom()
        host = specs[0].advertised_host
        door = storage.door
        opened = _open(door, config, rng, now, host, fsync=fsync)
        for line in opened.report:
            log.warning("%s", line)
        cores = opened.cores
        keys = _secure(cores, config, specs) if is_secured(config, specs) else None
        if keys is not None:
            undo.callback(keys.close)
            await keys.begin()
        for spec, listening in zip(specs, bound, strict=True):
            shown = spec.advertised_port or listening.getsockname()[1]
            endpoint = Endpoint(spec.advertised_host, shown, PROTOCOLS[spec.protocol])
            cores.address.endpoints[spec.name] = endpoint
        first = cores.address.endpoints[specs[0].name]
        cores.address.port = first.port
        driver = Driver(Node(cores), door, now_ms, fsync=fsync, counters=counters)
        storage.watch(driver.fail_soon)
        driver.start(_first_users(cores, users or {}))
        ids = ConnectionIds()
        listeners = {
            spec.name: Listener(listening, driver, cores, spec, ids, tls)
            for spec, listening, tls in zip(specs, bound, contexts, strict=True)
        }
        undo.pop_all()
    return Server(lock, storage, driver, listeners, written(first.host, first.port), keys)


def _open(
    door: Storage, config: BrokerConfig, rng: Random, now: Instant, host: str, *, fsync: bool
) -> Opened:
    """The cores of the directory; what the opening wrote is synced."""
    unsynced: set[str] = set()
    opened = open_cores(
        door,
        lambda operations: unsynced.update(door.perform(operations)),
        config,
        rng,
        now,
        host=host,
        fsync=fsync,
    )
    door.sync(unsynced)
    return opened


def _secure(cores: Cores, config: BrokerConfig, specs: Sequence[ListenerSpec]) -> KeySource | None:
    from flowstream.broker.server.logins import secure

    return secure(cores, config, specs)


def _first_users(cores: Cores, passwords: Mapping[str, str]) -> tuple[MetadataRecord, ...]:
    if not passwords:
        return ()
    from flowstream.broker.metadata.users import first_users

    return first_users(cores.image, passwords, cores.rng)


def make_directory(data: Path) -> None:
    """Make the data directory when it is absent. Raises StorageError."""
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{data}: {error.strerror}: name another directory with --data"
        ) from error
