"""Apache Kafka's settings of the process, for those who come with its `server.properties`: where a
node listens and keeps its data, and what this broker does without.

Text in, text out. What would be wrong to leave out is refused, what makes no difference here is
named in a note: nothing is accepted in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowstream.broker.config import SETTINGS, ConfigError, setting_of

if TYPE_CHECKING:
    from flowstream.cli.broker_settings import Given

_WHY_NOT_NEEDED: Mapping[str, str] = {
    "one event loop serves all connections": (
        "num.network.threads num.io.threads background.threads queued.max.requests"
        " group.coordinator.threads group.coordinator.background.threads"
    ),
    "one node is its own controller": (
        "process.roles controller.* inter.broker.listener.name security.inter.broker.protocol"
        " sasl.mechanism.* early.start.listeners broker.heartbeat.interval.ms"
        " broker.session.timeout.ms initial.broker.registration.timeout.ms request.timeout.ms"
        " add.partitions.to.txn.* socket.connection.setup.* num.replica.fetchers replica.*"
        " replication.quota.* auto.leader.rebalance.enable leader.imbalance.*"
        " controlled.shutdown.enable follower.fetch.*"
    ),
    "its logins and certificates are those between brokers and to other services": (
        "sasl.client.callback.handler.class sasl.login.* sasl.oauthbearer.assertion.*"
        " sasl.oauthbearer.client.credentials.* sasl.oauthbearer.jwt.retriever.class"
        " sasl.oauthbearer.scope sasl.oauthbearer.token.endpoint.url"
        " ssl.endpoint.identification.algorithm ssl.allow.* ssl.secure.random.implementation"
        " ssl.keymanager.algorithm ssl.trustmanager.algorithm ssl.provider"
    ),
    "the metadata log is kept whole, in the data directory": "metadata.*",
    "there is one log directory": "alter.log.dirs.* num.replica.alter.* cordoned.log.dirs",
    "there are no share groups": "share.* group.share.*",
    "there are no streams groups": "group.streams.*",
    "records are not tiered": "remote.*",
    "this broker takes no telemetry": "telemetry.*",
    "there are no delegation tokens": "delegation.*",
    "the system sizes its socket buffers": "socket.send.buffer.bytes socket.receive.buffer.bytes",
    "the backlog is 512": "socket.listen.backlog.size",
    "metrics are Prometheus', of --metrics-port": (
        "metric.reporters metrics.* kafka.metrics.* auto.include.jmx.reporter"
    ),
    "logs are recovered one after the other": "num.recovery.threads.per.data.dir",
    "logs are compacted one after the other": "log.cleaner.threads log.cleaner.io.buffer.size",
    "durability says when records are synced": "log.flush.*",
    "a failed disk stops the broker at once": "log.dir.failure.timeout.ms",
    "what waits is kept by its deadline": (
        "fetch.purgatory.* producer.purgatory.* delete.records.purgatory.*"
    ),
    "what coordinators write is in memory and uncompressed": (
        "offsets.commit.timeout.ms offsets.load.buffer.size offsets.topic.compression.codec"
        " transaction.state.log.load.buffer.size group.coordinator.append.linger.ms"
        " group.coordinator.cached.buffer.max.bytes"
    ),
    "groups of both protocols are served": "group.coordinator.rebalance.protocols",
    "rates are over eleven windows of a second": "quota.window.*",
    "every partition of a transaction is verified": "transaction.partition.verification.enable",
    "a page of topics has 2,000 partitions at most": "max.request.partition.size.limit",
    "a login is 64 KiB at most": "sasl.server.max.receive.size",
    "ssl.enabled.protocols says what is spoken": "ssl.protocol",
}
"""Why settings have nothing to set here, and which; `*` stands for the rest of the name."""

_NO_PLUGIN = "classes of a JVM are not run here: leave it out"
_PEM = "keys and certificates are PEM here (docs/security.md): leave it out"
_JAAS = "users are made with --users FILE or `flowstream users create`: leave it out"
_REFUSED: Mapping[str, str] = {
    "alter.config.policy.class.name": _NO_PLUGIN,
    "create.topic.policy.class.name": _NO_PLUGIN,
    "client.quota.callback.class": _NO_PLUGIN,
    "principal.builder.class": _NO_PLUGIN,
    "config.providers": _NO_PLUGIN,
    "security.providers": _NO_PLUGIN,
    "sasl.server.callback.handler.class": _NO_PLUGIN,
    "sasl.oauthbearer.jwt.validator.class": _NO_PLUGIN,
    "ssl.engine.factory.class": _NO_PLUGIN,
    "sasl.jaas.config": _JAAS,
    "sasl.kerberos.*": "there is no Kerberos (GSSAPI) here: leave it out",
    "sasl.oauthbearer.scope.claim.name": "scopes of tokens are not looked at: leave it out",
    "ssl.keystore.password": _PEM,
    "ssl.truststore.password": _PEM,
    "ssl.cipher.suites": "OpenSSL chooses its suites: leave it out, or see ssl.enabled.protocols",
    "max.connections.per.ip.overrides": "max.connections.per.ip counts for all: leave it out",
    "max.connection.creation.rate": (
        "`flowstream quotas alter --ip-defaults --set connection_creation_rate=N` bounds each"
        " address: leave it out"
    ),
    "transaction.two.phase.commit.enable": "KIP-939 is not served: leave it out",
}
"""Settings that would be missed where they are left out in silence, and what to do."""


def _found_in(table: Mapping[str, str], name: str) -> str | None:
    """What a table of names, some of them only beginnings, says of `name`."""
    for pattern, said in table.items():
        if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])):
            return said
    return None


_NOT_NEEDED = {name: why for why, names in _WHY_NOT_NEEDED.items() for name in names.split()}


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
    if "broker.id" in found:  # its name before KIP-500
        found.setdefault("node.id", found.pop("broker.id"))
    for name in [name for name in found if setting_of(name) is None]:
        refused = _found_in(_REFUSED, _of_any_listener(name))
        if refused is not None:
            raise ConfigError(f"{found[name].origin}: {name}: {refused}")
        why = _found_in(_NOT_NEEDED, name)
        if why is not None:
            notes.append(f"{found.pop(name).origin}: {name} changes nothing: {why}")
    return found, notes


def _of_any_listener(name: str) -> str:
    """`sasl.jaas.config` of `listener.name.sasl_ssl.plain.sasl.jaas.config`."""
    return re.sub(r"listener\.name\.[^.]+\.(?:[^.]+\.(?=sasl\.jaas))?", "", name)


def _for_clients(value: Given, controllers: str) -> Given:
    """The listeners without those of the controller, which is this node itself."""
    names = {name.strip() for name in controllers.split(",")}
    texts = [text.strip() for text in value.text.split(",")]
    return value._replace(
        text=",".join(text for text in texts if text.partition("://")[0] not in names)
    )
