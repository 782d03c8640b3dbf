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
    said = given.get("controller.listener.names")
    controllers = "CONTROLLER" if said is None else said.text
    for name in ("listeners", "advertised.listeners"):
        if name in found:
            found[name] = _for_clients(found[name], controllers)
    for name in [name for name in found if name in NOT_NEEDED and name not in SETTINGS]:
        value = found.pop(name)
        notes.append(f"{value.origin}: {name} changes nothing: {NOT_NEEDED[name]}")
    return found, notes


def _for_clients(value: Given, controllers: str) -> Given:
    """The listeners without those of the controller, which is this node itself."""
    names = {name.strip() for name in controllers.split(",")}
    texts = [text.strip() for text in value.text.split(",")]
    return value._replace(
        text=",".join(text for text in texts if text.partition("://")[0] not in names)
    )
