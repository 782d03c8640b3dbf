"""Apache Kafka's settings of the process, for those who come with its `server.properties`: where a
node listens and keeps its data, and what this broker does without.

Text in, text out. What would be wrong to leave out is refused, what makes no difference here is
named in a note: nothing is accepted in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowstream.broker.config import SETTINGS, ConfigError

if TYPE_CHECKING:
    from flowstream.cli.broker_settings import Given

_ONE_LOOP = "one event loop serves all connections"
_ONE_NODE = "one node is its own controller"

NOT_NEEDED: Mapping[str, str] = {
    "process.roles": _ONE_NODE,
    "controller.quorum.voters": _ONE_NODE,
    "controller.quorum.bootstrap.servers": _ONE_NODE,
    "controller.listener.names": _ONE_NODE,
    "inter.broker.listener.name": _ONE_NODE,
    "listener.security.protocol.map": "the listener is plain text",
    "num.network.threads": _ONE_LOOP,
    "num.io.threads": _ONE_LOOP,
    "num.recovery.threads.per.data.dir": "logs are recovered one after the other",
    "socket.send.buffer.bytes": "the system sizes its socket buffers",
    "socket.receive.buffer.bytes": "the system sizes its socket buffers",
    "background.threads": _ONE_LOOP,
    "queued.max.requests": _ONE_LOOP,
    "num.replica.fetchers": _ONE_NODE,
    "replica.fetch.max.bytes": _ONE_NODE,
    "replica.lag.time.max.ms": _ONE_NODE,
    "auto.leader.rebalance.enable": _ONE_NODE,
    "controlled.shutdown.enable": _ONE_NODE,
    "share.coordinator.state.topic.replication.factor": "there are no share groups",
    "share.coordinator.state.topic.min.isr": "there are no share groups",
}
"""Settings of Kafka's sample files that have nothing to set here, and why."""


def from_kafka(given: Mapping[str, Given]) -> tuple[dict[str, Given], list[str]]:
    """The settings with Kafka's words for directory and address in ours, and what there is to tell.
    Raises ConfigError.
    """
    found = dict(given)
    notes = []
    for name in ("log.dirs", "log.dir"):
        if name in found and name not in SETTINGS:
            value = found.pop(name)
            if "," in value.text:
                raise ConfigError(f"{value.origin}: {name}: this broker keeps one directory")
            if found.setdefault("data", value) is not value:
                notes.append(f"{value.origin}: {name} changes nothing: log.dirs or data is set")
    if "listeners" in found and "listeners" not in SETTINGS:
        value = found.pop("listeners")
        controller = given.get("controller.listener.names")
        host, port = _listener(value, controller.text if controller is not None else "CONTROLLER")
        found.setdefault("host", value._replace(text=host))
        found.setdefault("port", value._replace(text=port))
    if "advertised.listeners" in found and "advertised.listeners" not in SETTINGS:
        _check_advertised(given, found.pop("advertised.listeners"))
    for name in [name for name in found if name in NOT_NEEDED and name not in SETTINGS]:
        value = found.pop(name)
        notes.append(f"{value.origin}: {name} changes nothing: {NOT_NEEDED[name]}")
    return found, notes


def _listener(value: Given, controllers: str) -> tuple[str, str]:
    """Host and port of the one listener that clients use."""
    names = {name.strip() for name in controllers.split(",")}
    texts = [text.strip() for text in value.text.split(",") if text.strip()]
    clients = [text for text in texts if text.partition("://")[0] not in names]
    if len(clients) != 1:
        raise ConfigError(
            f"{value.origin}: listeners={value.text}: one listener for clients is expected,"
            " e.g. PLAINTEXT://127.0.0.1:9092"
        )
    name, scheme, address = clients[0].partition("://")
    host, colon, port = address.rpartition(":")
    if not (name and scheme and colon):
        raise ConfigError(f"{value.origin}: listeners={value.text}: NAME://HOST:PORT is expected")
    if name != "PLAINTEXT":
        raise ConfigError(
            f"{value.origin}: listeners={value.text}: this broker serves PLAINTEXT, not {name}"
        )
    return host.strip("[]") or "0.0.0.0", port


def _check_advertised(given: Mapping[str, Given], value: Given) -> None:
    """Clients are sent to the address that is served: another one would be a wrong promise."""
    served = given["listeners"].text if "listeners" in given else ""
    listening = {text.strip() for text in served.split(",")}
    if {text.strip() for text in value.text.split(",")} - listening:
        raise ConfigError(
            f"{value.origin}: advertised.listeners={value.text}: this broker sends clients to the"
            " address that it serves; leave it out and name that host in listeners"
        )
