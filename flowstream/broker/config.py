"""The broker's settings: Kafka's names, types, defaults and bounds, declared once as the fields of `BrokerConfig`.

Pure: text in, values out. Where the text comes from (command line, file) is not known here.
"""

# ruff: noqa: E501 - a table reads best with one entry on one line

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

from flowstream.broker.setting_kinds import (
    FLAG,
    SECRET,
    BadValue,
    Kind,
    Secret,
    choice,
    fraction,
    several,
    whole,
)
from flowstream.errors import FlowstreamError

INT_MAX = (1 << 31) - 1
LONG_MAX = (1 << 63) - 1
CODECS = ("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")
TIMESTAMP_TYPES = ("CreateTime", "LogAppendTime")
ASSIGNORS = ("uniform", "range")
MIGRATION_POLICIES = ("bidirectional", "upgrade", "downgrade", "disabled")
OAUTHBEARER = "OAUTHBEARER"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTHBEARER)
AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
NO_EFFECT = " (no effect here)"
"""Settings of Kafka that its tools and files name, and that one node of this kind does without."""
CLEANUP_POLICIES = ("compact", "delete")

_CONSUMER_GROUP_BOUNDED = ("session.timeout.ms", "heartbeat.interval.ms", "assignment.interval.ms")
T = TypeVar("T")


class ConfigError(FlowstreamError):
    """A setting that is unknown or has a bad value; the message names the key, the value and the way out."""


def setting(default: T, kind: Kind, doc: str) -> T:
    """Declare a field of `BrokerConfig`; its name with dots for underscores is Kafka's."""
    return field(default=default, metadata={"kind": kind, "doc": doc})


_COUNT = whole("int", 1)
_INTERVAL = whole("int", 1)
_DOUBLE_MAX = 1.7976931348623157e308


class Dynamic(NamedTuple):
    """What clients changed while the cluster ran (KIP-226), as text by Kafka's names, and beneath it the settings as
    given. Made by `metadata.broker_configs`."""

    given: BrokerConfig
    own: Mapping[str, str]
    cluster: Mapping[str, str]
    """For every broker; `own` is for this one and stronger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """All settings, typed. `BrokerConfig.of` reads them from text by Kafka's names."""

    # fmt: off
    node_id: int = setting(0, whole("int", 0), "id of this node in the cluster")
    cluster_id: str = setting("", choice(), "id of the cluster; empty: made up on the first start and kept in meta.properties")
    broker_rack: str = setting("", choice(), "rack that this broker says it is in")

    auto_create_topics_enable: bool = setting(True, FLAG, "create a topic when a client first asks for it")
    delete_topic_enable: bool = setting(True, FLAG, "allow topics to be deleted")
    num_partitions: int = setting(1, _COUNT, "partitions of a topic created without a number")
    default_replication_factor: int = setting(1, _COUNT, "replicas of a topic created without a number")
    min_insync_replicas: int = setting(1, _COUNT, "replicas that must have a write of acks=all")
    unclean_leader_election_enable: bool = setting(False, FLAG, "let a replica lead that lacks acknowledged data" + NO_EFFECT)
    compression_type: str = setting("producer", choice(*CODECS), "codec of stored batches")
    compression_gzip_level: int = setting(-1, whole("int", -1, 9), "level of gzip")
    compression_lz4_level: int = setting(9, whole("int", 1, 17), "level of lz4")
    compression_zstd_level: int = setting(3, whole("int", -131072, 22), "level of zstd")
    record_validation: str = setting("header", choice("header", "full"), "what is checked of a batch before it is stored: its header and CRC, or every record too")
    message_max_bytes: int = setting(1048588, whole("int", 0), "largest record batch")

    log_cleanup_policy: tuple[str, ...] = setting(("delete",), several(*CLEANUP_POLICIES), "what happens to old segments")
    log_cleaner_backoff_ms: int = setting(15_000, whole("long", 0), "time between two looks for logs to compact")
    log_cleaner_dedupe_buffer_size: int = setting(134_217_728, whole("long", 1 << 20), "memory for the keys of one cleaning; a log with more is cleaned in parts")
    log_cleaner_delete_retention_ms: int = setting(86_400_000, whole("long", 0), "how long tombstones stay in compacted topics")
    log_cleaner_enable: bool = setting(True, FLAG, "compact the topics whose policy says so")
    log_cleaner_io_buffer_load_factor: float = setting(0.9, fraction(0, 1), "part of the memory for keys that is used")
    log_cleaner_io_max_bytes_per_second: float = setting(_DOUBLE_MAX, fraction(1, _DOUBLE_MAX), "bytes that compaction reads and writes in a second at most")
    log_cleaner_max_compaction_lag_ms: int = setting(LONG_MAX, whole("long", 1), "longest time a record stays uncompacted")
    log_cleaner_min_cleanable_ratio: float = setting(0.5, fraction(0, 1), "dirty part of a log at which it is compacted")
    log_cleaner_min_compaction_lag_ms: int = setting(0, whole("long", 0), "shortest time a record stays uncompacted")
    log_flush_interval_messages: int = setting(LONG_MAX, whole("long", 1), "records after which a log is flushed" + NO_EFFECT)
    log_flush_interval_ms: int | None = setting(None, whole("long", 0), "time after which a log is flushed" + NO_EFFECT)
    log_index_interval_bytes: int = setting(4096, whole("int", 0), "bytes between two index entries")
    log_index_size_max_bytes: int = setting(10_485_760, whole("int", 4), "largest offset index")
    log_local_retention_bytes: int = setting(-2, whole("long", -2), "bytes kept locally of a tiered topic" + NO_EFFECT)
    log_local_retention_ms: int = setting(-2, whole("long", -2), "time kept locally of a tiered topic" + NO_EFFECT)
    log_message_timestamp_after_max_ms: int = setting(3_600_000, whole("long", 0), "how far in the future a record may be")
    log_message_timestamp_before_max_ms: int = setting(LONG_MAX, whole("long", 0), "how far in the past a record may be")
    log_message_timestamp_type: str = setting("CreateTime", choice(*TIMESTAMP_TYPES), "whose time a record carries")
    log_preallocate: bool = setting(False, FLAG, "preallocate segment files" + NO_EFFECT)
    log_retention_bytes: int = setting(-1, whole("long"), "bytes kept per partition; -1: no bound")
    log_retention_hours: int = setting(168, whole("int"), "hours kept; used when minutes and ms are not set")
    log_retention_minutes: int | None = setting(None, whole("int"), "minutes kept; used when ms is not set")
    log_retention_ms: int | None = setting(None, whole("long", -1), "milliseconds kept; -1: no bound")
    log_retention_check_interval_ms: int = setting(300_000, whole("long", 1), "time between two looks at retention")
    log_roll_hours: int = setting(168, whole("int", 1), "hours after which a segment is closed; used when ms is not set")
    log_roll_ms: int | None = setting(None, whole("long", 1), "milliseconds after which a segment is closed")
    log_roll_jitter_ms: int | None = setting(None, whole("long", 0), "time taken off the roll time, at most: another one for each segment")
    log_roll_jitter_hours: int = setting(0, whole("int", 0), "hours taken off the roll time, at most")
    log_segment_bytes: int = setting(1 << 30, whole("int", 1 << 20), "size at which a segment is closed")
    log_segment_delete_delay_ms: int = setting(60_000, whole("long", 0), "time between taking a file out of use and deleting it" + NO_EFFECT)

    group_consumer_assignment_interval_ms: int = setting(1_000, whole("int", 0), "shortest time between two target assignments of a consumer group")
    group_consumer_assignors: tuple[str, ...] = setting(ASSIGNORS, several(*ASSIGNORS), "assignors of consumer groups; the first is the default")
    group_consumer_heartbeat_interval_ms: int = setting(5_000, _INTERVAL, "how often a member of a consumer group sends a heartbeat")
    group_consumer_max_assignment_interval_ms: int = setting(15_000, whole("int", 0), "largest assignment interval that a group may set")
    group_consumer_max_heartbeat_interval_ms: int = setting(15_000, _INTERVAL, "longest heartbeat interval that a group may set")
    group_consumer_max_session_timeout_ms: int = setting(60_000, _INTERVAL, "longest session timeout that a consumer group may set")
    group_consumer_max_size: int = setting(INT_MAX, _COUNT, "members of one consumer group")
    group_consumer_migration_policy: str = setting("bidirectional", choice(*MIGRATION_POLICIES), "whether a group of classic members may become a consumer group, and back")
    group_consumer_min_assignment_interval_ms: int = setting(0, whole("int", 0), "smallest assignment interval that a group may set")
    group_consumer_min_heartbeat_interval_ms: int = setting(5_000, _INTERVAL, "shortest heartbeat interval that a group may set")
    group_consumer_min_session_timeout_ms: int = setting(45_000, _INTERVAL, "shortest session timeout that a consumer group may set")
    group_consumer_regex_refresh_interval_ms: int = setting(600_000, whole("int", 10_000), "time after which a group's regular expressions are matched anew")
    group_consumer_session_timeout_ms: int = setting(45_000, _INTERVAL, "silence after which a member of a consumer group is out")
    group_initial_rebalance_delay_ms: int = setting(0, whole("int", 0), "how long an empty group waits for more members")
    group_max_session_timeout_ms: int = setting(1_800_000, whole("int"), "longest session timeout of a member")
    group_max_size: int = setting(INT_MAX, _COUNT, "members of one group")
    group_min_session_timeout_ms: int = setting(6_000, whole("int"), "shortest session timeout of a member")
    offset_metadata_max_bytes: int = setting(4096, whole("int", 0), "largest metadata text of a committed offset")
    offsets_retention_check_interval_ms: int = setting(600_000, whole("long", 1), "time between two looks for expired offsets")
    offsets_retention_minutes: int = setting(10_080, _INTERVAL, "how long offsets of an empty group are kept")
    offsets_topic_num_partitions: int = setting(4, _COUNT, "partitions of __consumer_offsets")
    offsets_topic_replication_factor: int = setting(1, whole("short", 1), "replicas of __consumer_offsets" + NO_EFFECT)
    offsets_topic_segment_bytes: int = setting(104_857_600, whole("int", 1 << 20), "segment size of __consumer_offsets")

    producer_id_expiration_ms: int = setting(86_400_000, _INTERVAL, "how long an idle producer is remembered")
    producer_id_expiration_check_interval_ms: int = setting(600_000, _INTERVAL, "time between two looks for idle producers" + NO_EFFECT)
    transaction_abort_timed_out_transaction_cleanup_interval_ms: int = setting(10_000, _INTERVAL, "bound on how late a timed-out transaction is aborted" + NO_EFFECT)
    transaction_max_timeout_ms: int = setting(900_000, _INTERVAL, "longest timeout a transactional producer may ask for")
    transaction_remove_expired_transaction_cleanup_interval_ms: int = setting(3_600_000, _INTERVAL, "time between two looks for expired transactional ids")
    transaction_state_log_min_isr: int = setting(1, _COUNT, "min.insync.replicas of __transaction_state")
    transaction_state_log_num_partitions: int = setting(4, _COUNT, "partitions of __transaction_state")
    transaction_state_log_replication_factor: int = setting(1, whole("short", 1), "replicas of __transaction_state" + NO_EFFECT)
    transaction_state_log_segment_bytes: int = setting(104_857_600, whole("int", 1 << 20), "segment size of __transaction_state")
    transactional_id_expiration_ms: int = setting(604_800_000, _INTERVAL, "how long an idle transactional id is kept")

    connections_max_idle_ms: int = setting(600_000, whole("long"), "idle time after which a connection is closed; below 0: never")
    fetch_max_bytes: int = setting(57_671_680, whole("int", 1024), "largest answer to a fetch")
    max_connections: int = setting(INT_MAX, whole("int", 0), "connections at one time")
    max_connections_per_ip: int = setting(INT_MAX, whole("int", 0), "connections at one time from one address")
    max_incremental_fetch_session_cache_slots: int = setting(1_000, whole("int", 0), "fetch sessions kept at one time")
    queued_max_request_bytes: int = setting(-1, whole("long"), "unfinished requests and unsent answers of all connections together; 0 and below: a fourth of the memory there is")
    socket_request_max_bytes: int = setting(104_857_600, _COUNT, "largest request")

    listeners: tuple[str, ...] = setting((), several(), "where to listen, NAME://HOST:PORT; empty: --host and --port, plain")
    advertised_listeners: tuple[str, ...] = setting((), several(), "where clients find the listeners, when it is elsewhere")
    listener_security_protocol_map: str = setting("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", choice(), "security protocol of each listener name")
    connection_failed_authentication_delay_ms: int = setting(100, whole("int", 0), "how long a failed login waits for its answer")
    connections_max_reauth_ms: int = setting(0, whole("long", 0), "how long a login holds (KIP-368); 0: as long as the connection")
    sasl_enabled_mechanisms: tuple[str, ...] = setting(("SCRAM-SHA-256", "SCRAM-SHA-512"), several(*MECHANISMS), "ways to log in")
    sasl_oauthbearer_clock_skew_seconds: int = setting(30, whole("int", 0), "how wrong the clock of a token's issuer may be")
    sasl_oauthbearer_expected_audience: tuple[str, ...] = setting((), several(), "for whom a token must be meant")
    sasl_oauthbearer_expected_issuer: str = setting("", choice(), "who must have issued a token")
    sasl_oauthbearer_jwks_endpoint_url: str = setting("", choice(), "https:// or file:// URL of the keys that sign tokens")
    sasl_oauthbearer_jwks_endpoint_refresh_ms: int = setting(3_600_000, whole("long", 1), "how often the keys of an https:// URL are fetched")
    sasl_oauthbearer_jwks_endpoint_retry_backoff_ms: int = setting(100, whole("long", 1), "time to the next try after a failed fetch; twice as long after each more")
    sasl_oauthbearer_jwks_endpoint_retry_backoff_max_ms: int = setting(10_000, whole("long", 1), "longest time to the next try")
    sasl_oauthbearer_sub_claim_name: str = setting("sub", choice(), "the claim of a token that names its user")
    ssl_client_auth: str = setting("none", choice("none", "requested", "required"), "whether clients show a certificate")
    ssl_enabled_protocols: tuple[str, ...] = setting(("TLSv1.2", "TLSv1.3"), several("TLSv1.2", "TLSv1.3"), "versions of TLS")
    ssl_key_password: str = setting("", SECRET, "password of the private key")
    ssl_keystore_certificate_chain: str = setting("", SECRET, "the certificate chain itself, as PEM, in place of a file")
    ssl_keystore_key: str = setting("", SECRET, "the private key itself, as PEM, in place of a file")
    ssl_keystore_location: str = setting("", choice(), "PEM file with the private key and the certificate chain")
    ssl_keystore_type: str = setting("PEM", choice("PEM"), "format of the keystore")
    ssl_principal_mapping_rules: str = setting("DEFAULT", choice(), "from a certificate's subject to a principal")
    ssl_truststore_certificates: str = setting("", SECRET, "the authorities themselves, as PEM, in place of a file")
    ssl_truststore_location: str = setting("", choice(), "PEM file with the authorities of client certificates")
    ssl_truststore_type: str = setting("PEM", choice("PEM"), "format of the truststore")
    authorizer_class_name: str = setting("", choice("", AUTHORIZER), "access rules; always in force where clients log in")
    allow_everyone_if_no_acl_found: bool = setting(False, FLAG, "allow what no access rule is about")
    super_users: str = setting("", choice(), "principals that may do everything, separated by semicolons")
    # fmt: on

    of_listener: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict, hash=False, repr=False
    )
    """Settings of one listener alone, as text: `listener.name.<name>.<setting>`."""
    given: frozenset[str] = frozenset()
    """Names of the settings that were given, even when equal to the default."""
    dynamic: Dynamic | None = field(default=None, hash=False)
    """What was changed since; None: nothing, and the settings are as given."""

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> BrokerConfig:
        """The settings that `texts` gives by Kafka's names; defaults for the rest. Raises ConfigError."""
        given: dict[str, Any] = {}
        of_listener: dict[str, dict[str, str]] = {}
        for name, text in texts.items():
            listener = _LISTENER_SETTING.fullmatch(name)
            declared = SETTINGS.get(setting_of(name) or name)
            if declared is None:
                raise ConfigError(f"unknown setting {name!r}{_closest(name, SETTINGS)}")
            try:
                value = declared.kind.parse(text)
            except BadValue as error:
                raise ConfigError(f"bad value {text!r} for setting {name}: {error}") from None
            if listener is None:
                given[declared.attribute] = value
            else:
                of_listener.setdefault(listener[1].upper(), {})[declared.name] = text
        config = cls(**given, given=frozenset(texts), of_listener=of_listener)
        config._check_together()
        return config

    def _check_together(self) -> None:
        low, high = self.group_min_session_timeout_ms, self.group_max_session_timeout_ms
        if low > high:
            raise ConfigError(
                f"group.min.session.timeout.ms={low} is above group.max.session.timeout.ms={high}: "
                "lower the one or raise the other"
            )

        queued, largest = self.queued_max_request_bytes, self.socket_request_max_bytes
        if 0 < queued < largest:
            raise ConfigError(
                f"queued.max.request.bytes={queued} is below socket.request.max.bytes={largest}: "
                "raise the one or lower the other; -1 takes a fourth of the memory there is"
            )

        for what in _CONSUMER_GROUP_BOUNDED:
            names = [f"group.consumer.{bound}{what}" for bound in ("min.", "", "max.")]
            values = [getattr(self, SETTINGS[name].attribute) for name in names]
            if sorted(values) != values:
                told = ", ".join(f"{n}={v}" for n, v in zip(names, values, strict=True))
                raise ConfigError(f"{told}: the middle one must lie between the others")
        heartbeat, silence = (
            self.group_consumer_heartbeat_interval_ms,
            self.group_consumer_session_timeout_ms,
        )
        if heartbeat >= silence:
            raise ConfigError(
                f"group.consumer.heartbeat.interval.ms={heartbeat} is not below "
                f"group.consumer.session.timeout.ms={silence}: lower the one or raise the other"
            )
        if not self.group_consumer_assignors:
            raise ConfigError("group.consumer.assignors is empty: name uniform, range or both")

    @property
    def retention_ms(self) -> int:
        """`log.retention.ms`, or from minutes or hours as Kafka resolves them; -1: no bound."""
        if self.log_retention_ms is not None:
            return self.log_retention_ms
        if self.log_retention_minutes is not None:
            minutes = self.log_retention_minutes
        else:
            minutes = self.log_retention_hours * 60
        return minutes * 60_000 if minutes >= 0 else -1

    @property
    def roll_ms(self) -> int:
        """`log.roll.ms`, or from hours."""
        return self.log_roll_ms if self.log_roll_ms is not None else self.log_roll_hours * 3_600_000

    @property
    def roll_jitter_ms(self) -> int:
        """`log.roll.jitter.ms`, or from hours."""
        jitter = self.log_roll_jitter_ms
        return jitter if jitter is not None else self.log_roll_jitter_hours * 3_600_000

    @property
    def flush_ms(self) -> int:
        """`log.flush.interval.ms`, unbounded when it is not set."""
        return LONG_MAX if self.log_flush_interval_ms is None else self.log_flush_interval_ms


@dataclass(frozen=True, slots=True)
class Setting:
    """One broker setting as declared: Kafka's name, the attribute of `BrokerConfig`, kind, default and meaning."""

    name: str
    attribute: str
    kind: Kind
    default: object
    doc: str


SETTINGS: Mapping[str, Setting] = {
    each.name.replace("_", "."): Setting(
        each.name.replace("_", "."),
        each.name,
        each.metadata["kind"],
        each.default,
        each.metadata["doc"],
    )
    for each in fields(BrokerConfig)
    if each.metadata
}


def setting_of(name: str) -> str | None:
    """The declared setting that `name` sets, for all listeners or for one; None when there is none.

    >>> setting_of("listener.name.inside.ssl.client.auth")
    'ssl.client.auth'
    """
    listener = _LISTENER_SETTING.fullmatch(name)
    if listener and listener[2] in LISTENER_SETTINGS:
        return listener[2]
    return name if name in SETTINGS else None


LISTENER_SETTINGS = {
    "sasl.enabled.mechanisms": "mechanisms",
    "connections.max.reauth.ms": "reauth_ms",
    "ssl.client.auth": "client_auth",
    "ssl.key.password": "key_password",
    "ssl.keystore.certificate.chain": "chain_pem",
    "ssl.keystore.key": "key_pem",
    "ssl.keystore.location": "keystore",
    "ssl.truststore.certificates": "truststore_pem",
    "ssl.truststore.location": "truststore",
    "ssl.enabled.protocols": "tls_versions",
}
"""Settings that a single listener may have for itself, and what `ListenerSpec` calls them."""

_LISTENER_SETTING = re.compile(r"listener\.name\.([A-Za-z0-9_-]+)\.(.+)")


def text_of(value: object) -> str | None:
    """A setting's value as Kafka writes it; a secret is not told (X5)."""
    if isinstance(value, Secret):
        return None
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


def _closest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (
        f"; did you mean {near[0]!r}?" if near else "; `flowstream broker --list-settings` has all"
    )
