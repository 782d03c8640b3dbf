"""Settings of an app: code, FLOWSTREAM_* variables and [tool.flowstream] of pyproject.toml.

Shell: reads the environment and a file, nothing else. The command line wins over arguments in
code, those over FLOWSTREAM_*, those over [tool.flowstream], those over the defaults.
"""

from __future__ import annotations

import datetime
import difflib
import logging
import os
import re
import ssl
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from flowstream.processing.environment.setting_values import (
    COMPRESSIONS,
    LEGAL_ID,
    MOST_PORT,
    OAUTHBEARER,
    PROTOCOLS,
    converted,
)
from flowstream.processing.errors import SettingsError

__all__ = ["COMPRESSIONS", "OAUTHBEARER"]

Guarantee = Literal["exactly_once", "at_least_once"]

PREFIX = "FLOWSTREAM_"
NOT_OURS = ("FLOWSTREAM_TEST_", "FLOWSTREAM_BROKER_")
"""Tests' own, and settings of the broker (`flowstream broker`), embedded or not."""
_SECRETS = ("sasl_password", "sasl_oauthbearer_client_secret", "web_token")
KAFKA_PORT = 9092
PRODUCTS = ("kafka", "aiokafka")
"""Schemes of a broker's URL, the second for apps that come from Faust."""
ADDRESS = re.compile(r"(\[[^\]\s]+\]|[^:/\[\]\s]+)(:(?P<port>[0-9]{1,5}))?")
"""A host by its name or number, IPv6 in brackets, and a port."""


# Without slots: with them a name that is none is refused by a TypeError about super().
@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set; times are in seconds."""

    broker: str | None = None
    """`kafka://host:port[,host:port]`, `embedded://DIR`, or None for the embedded broker.
    `kafka+sasl_ssl://` and the like say the security protocol too; `aiokafka://` is `kafka://`, as
    in Faust, and alone the broker on this machine."""
    security_protocol: str | None = None
    """`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`; None: as the broker's URL says."""
    sasl_mechanism: str = "SCRAM-SHA-256"
    """`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`."""
    sasl_username: str | None = None
    """Who to log in as."""
    sasl_password: str | None = field(default=None, repr=False)
    """The password; from FLOWSTREAM_SASL_PASSWORD rather than from code."""
    sasl_oauthbearer_token_endpoint_url: str | None = None
    """`https://` URL of an issuer that gives tokens for a client's id and secret, or `file:///` URL
    of a file that holds one and is kept current."""
    sasl_oauthbearer_client_id: str | None = None
    """Who asks the issuer for a token."""
    sasl_oauthbearer_client_secret: str | None = field(default=None, repr=False)
    """How it proves that; from FLOWSTREAM_SASL_OAUTHBEARER_CLIENT_SECRET rather than from code."""
    sasl_oauthbearer_scope: str | None = None
    """What the token is to be good for, if the issuer wants to know."""
    sasl_oauthbearer_token_provider: Any = field(default=None, repr=False)
    """An object with `async def token(self)`, in place of an issuer's URL."""
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    """In place of the files below; alone it says that the connection is encrypted."""
    ssl_cafile: str | None = None
    """PEM file with the authorities to trust; None: the system's."""
    ssl_certfile: str | None = None
    """PEM file with this client's certificate chain and, without `ssl_keyfile`, its key."""
    ssl_keyfile: str | None = None
    """PEM file with this client's private key, not encrypted."""
    data_dir: str = ".flowstream"
    """State of workers and the embedded broker's data."""
    processing_guarantee: Guarantee = "exactly_once"
    """`exactly_once` or `at_least_once`."""
    commit_interval: float = 0.1
    """An epoch commits this often at the least."""
    commit_every: int | None = None
    """It commits, too, once so many records have come since the one before."""
    session_timeout: float = 10.0
    """A silent worker loses its partitions after this long."""
    rebalance_timeout: float = 30.0
    """A worker that does not take part in a rebalance within this long is left out of it."""
    heartbeat_interval: float | None = None
    """A worker tells its group this often that it lives; None: a tenth of `session_timeout`."""
    group_instance_id: str | None = None
    """A name that this worker keeps over restarts (static membership, KIP-345): one that is back
    within `session_timeout` gets its partitions again, and the other workers notice nothing."""
    standby_replicas: int = 0
    """So many other workers keep a copy of each table partition, from which they take over."""
    acceptable_recovery_lag: int = 10_000
    """A copy that is fewer changelog records behind than this is as good as none behind."""
    max_warmup_replicas: int = 2
    """So many copies are made at a time, beside the standbys, for tasks that are to move."""
    probing_interval: float = 60.0
    """While copies are made for a move, the workers look this often whether they are done."""
    transaction_timeout: float = 10.0
    """The broker aborts a transaction that stays open this long (T4)."""
    compression: str = "none"
    """Of what agents send, and of the rows of tables: `none`, `gzip`, `snappy`, `lz4`, `zstd`."""
    request_timeout: float = 30.0
    """A broker that does not answer a request for so long is taken for lost."""
    connections_max_idle: float = 540.0
    """A connection that carries nothing for so long is closed, and opened when it is needed."""
    client_id: str | None = None
    """By what name the brokers know the worker, in their logs and quotas; None: the app's id."""
    max_partition_fetch_bytes: int = 1 << 20
    """So much of a source partition is fetched at a time at most; a batch that is larger comes
    alone."""
    max_poll_records: int = 500
    """So many fetched records are handed to the agents at a time at most."""
    max_buffered_records: int = 1_000
    """A partition with so many records waiting for its agents is not fetched from."""
    max_batch_bytes: int = 1 << 19
    """Records that are sent go in batches of this size at most; a record that is larger goes alone.
    """
    max_record_bytes: int | None = None
    """A larger record is not sent: its event fails. None: as the topic's max.message.bytes says."""
    topic_partitions: int | None = None
    """Of declared topics that are created and name no partitions; None: the broker's default."""
    topic_allow_declare: bool = True
    """Whether topics that are missing are created; False: a missing one stops the worker."""
    replication_factor: int = -1
    """Of topics that the app creates; -1 is the broker's default."""
    on_error: str = "stop"
    """Of agents that say none: `stop`, `skip`, `retry`, `dead_letter` or `park`."""
    retry_backoff: float = 0.1
    """First pause of `on_error="retry"`; it doubles up to a hundred times this."""
    circuit_breaker: int = 100
    """After so many failed events in a row an agent passes over no more of them, but tries the same
    one until it goes well; 0: never."""
    purge_interval: float = 30.0
    """How often repartition topics are emptied of what is committed."""
    source_idle: float = 10.0
    """A source that is silent this long, with nothing waiting, does not hold the watermark back."""
    stall_warning: float = 5.0
    """An agent that neither finishes an event nor yields for this long is named in the log."""
    web_port: int | None = None
    """Port of the worker's web server, 0: any that is free; None: no web server."""
    web_host: str = "127.0.0.1"
    """Where it listens; other than loopback needs `web_token`, or `web_open`."""
    web_token: str | None = field(default=None, repr=False)
    """What a visitor must bring: `Authorization: Bearer TOKEN`."""
    web_open: bool = False
    """Whether others may visit without a token, from wherever they reach `web_host`."""
    web_advertised: str | None = None
    """HOST or HOST:PORT under which other machines reach it; None: as it listens."""
    web_cors_options: Mapping[str, Any] | None = None
    """By origin, what pages of others may do with the app's pages; None: nothing."""
    timezone: str | datetime.tzinfo | None = None
    """Of crontabs that name none, as "Europe/Berlin"; None: UTC."""
    reply_to: str | None = None
    """The topic for replies of agents that are asked; None: `<app>-replies`."""
    reply_to_prefix: str | None = None
    """That topic is this and the app's id, where `reply_to` is not said."""
    reply_expires: float = 3_600.0
    """Replies are kept for this long, by the topic as it is made."""
    debug: bool = False
    """Whether the worker's event loop is in asyncio's debug mode."""
    worker_redirect_stdouts: bool = False
    """Whether what is printed in a worker of the command line is logged instead."""
    worker_redirect_stdouts_level: str = "warning"
    """As what it is logged."""
    logging_config: Mapping[str, Any] | None = field(default=None, repr=False)
    """How a worker of the command line logs, as `logging.config.dictConfig` has it."""
    loghandlers: Sequence[logging.Handler] | None = field(default=None, repr=False)
    """Handlers that get its lines, too."""
    key_serializer: str | None = None
    """Of keys of topics that say neither type nor serializer: `raw`, `json`, `json|gzip`, ..."""
    value_serializer: str | None = None
    """Of their values."""


_FIELDS = {each.name: each for each in fields(Settings)}
SETTINGS = frozenset(_FIELDS)
"""The names of all settings."""


def resolve(
    arguments: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    prefix: str | None = None,
) -> Settings:
    """The settings in force; arguments that are None count as not given. Variables with a `prefix`
    of the app's own count, too, as far as they name settings.
    """
    found: dict[str, Any] = {}
    found.update(_from_file((directory or Path.cwd()) / "pyproject.toml"))
    there = os.environ if environment is None else environment
    found.update(_from_environment(there))
    if prefix is not None:
        found.update(_of_our_own(there, prefix.rstrip("_") + "_"))
    found.update({k: (v, "App(...)") for k, v in arguments.items() if v is not None})
    return Settings(**{name: _checked(name, *value) for name, value in found.items()})


def changed(settings: Settings, name: str, value: object, origin: str) -> Settings:
    """The settings with another value of one, None for its default. SettingsError when there is no
    such setting, or it cannot have that value; `origin` is where it was said.
    """
    is_default = value is None and name in _FIELDS
    found: Any = _FIELDS[name].default if is_default else _checked(name, value, origin)
    return replace(settings, **{name: found})


def _from_file(path: Path) -> dict[str, tuple[Any, str]]:
    try:
        table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    for name in ("tool", "flowstream"):
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: [tool.flowstream] must be a table of settings")
    return {str(k).replace("-", "_"): (v, f"[tool.flowstream] in {path}") for k, v in table.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    return {
        name.removeprefix(PREFIX).lower(): (value, name)
        for name, value in environment.items()
        if name.startswith(PREFIX) and not name.startswith(NOT_OURS)
    }


def _of_our_own(environment: Mapping[str, str], prefix: str) -> dict[str, tuple[Any, str]]:
    names = {f"{prefix}{name.upper()}": name for name in _FIELDS}
    return {names[each]: (value, each) for each, value in environment.items() if each in names}


def _checked(name: str, value: Any, origin: str) -> Any:
    if name not in _FIELDS:
        close = difflib.get_close_matches(name, _FIELDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(_FIELDS)}"
        raise SettingsError(f"unknown setting {name!r} from {origin}: {hint}")
    try:
        return converted(name, value)
    except (ValueError, TypeError) as error:
        if name in _SECRETS:
            value = "..."
        raise SettingsError(f"bad value {value!r} for {name!r} from {origin}: {error}") from error


def check_app_id(id: object) -> str:
    """Refuse an app id that cannot be part of topic and directory names."""
    if not isinstance(id, str) or not LEGAL_ID.fullmatch(id) or id in (".", ".."):
        raise SettingsError(
            f"app id {id!r} is not usable: topics and directories are named after it;"
            " use letters, digits, '.', '_' and '-'"
        )
    return id


def check_version(version: object) -> int:
    """Refuse a version of an app that is no whole number from 1 on."""
    if type(version) is not int or version < 1:
        raise SettingsError(f"the version of an app is a whole number from 1 on, not {version!r}")
    return version


def bootstrap_of(broker: str) -> str | None:
    """HOST:PORT[,HOST:PORT] of a broker setting, or None when it is the embedded one. A port that
    is left out is Kafka's.
    """
    if broker.startswith("embedded://"):
        return None
    scheme, found, rest = broker.partition("://")
    if found and scheme not in PRODUCTS and protocol_of(broker) is None:
        raise SettingsError(
            f"broker {broker!r}: use kafka://HOST:PORT, kafka+sasl_ssl://HOST:PORT (or +ssl,"
            " +sasl_plaintext) or embedded://DIR"
        )
    addresses = rest if found else broker
    if broker == "aiokafka://":
        addresses = "localhost"
    # Faust's lists have semicolons.
    each = addresses.replace(";", ",").split(",")
    return ",".join(_with_port(broker, address.strip()) for address in each)


def _with_port(broker: str, address: str) -> str:
    found = ADDRESS.fullmatch(address)
    if found is None or int(found["port"] or KAFKA_PORT) > MOST_PORT:
        raise SettingsError(f"broker {broker!r}: {address!r} is not HOST:PORT")
    return address if found["port"] else f"{address}:{KAFKA_PORT}"


def protocol_of(broker: str) -> str | None:
    """The security protocol that a broker's URL names: `kafka+sasl_ssl://` is SASL_SSL."""
    scheme, found, _ = broker.partition("://")
    product, plus, protocol = scheme.partition("+")
    if found and plus and product == "kafka" and protocol.upper() in PROTOCOLS:
        return protocol.upper()
    return None
