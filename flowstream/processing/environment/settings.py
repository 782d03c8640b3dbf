"""Settings of an app: code, FLOWSTREAM_* variables and [tool.flowstream] of pyproject.toml.

Shell: reads the environment and a file, nothing else. The command line wins over arguments in
code, those over FLOWSTREAM_*, those over [tool.flowstream], those over the defaults.
"""

from __future__ import annotations

import datetime
import difflib
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from flowstream.processing.commit import AT_LEAST_ONCE, EXACTLY_ONCE
from flowstream.processing.errors import SettingsError

Guarantee = Literal["exactly_once", "at_least_once"]

PREFIX = "FLOWSTREAM_"
NOT_OURS = ("FLOWSTREAM_TEST_", "FLOWSTREAM_BROKER_")
"""Tests' own, and settings of the broker (`flowstream broker`), embedded or not."""
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
OAUTHBEARER = "OAUTHBEARER"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTHBEARER)
_TEXTS = (
    "broker",
    "data_dir",
    "sasl_username",
    "sasl_password",
    "sasl_oauthbearer_token_endpoint_url",
    "sasl_oauthbearer_client_id",
    "sasl_oauthbearer_client_secret",
    "sasl_oauthbearer_scope",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "web_host",
    "web_token",
    "web_advertised",
    "key_serializer",
    "value_serializer",
)
_WHOLE_NUMBERS = {
    "topic_partitions": 1,
    "replication_factor": -1,
    "circuit_breaker": 0,
    "standby_replicas": 0,
    "acceptable_recovery_lag": 0,
    "max_warmup_replicas": 1,
    "max_partition_fetch_bytes": 1,
}
"""With the least value of each."""
COMPRESSIONS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""Kafka's numbers of them."""
_SECRETS = ("sasl_password", "sasl_oauthbearer_client_secret", "web_token")
MOST_PORT = 65_535
KAFKA_PORT = 9092
PRODUCTS = ("kafka", "aiokafka")
"""Schemes of a broker's URL, the second for apps that come from Faust."""
ADDRESS = re.compile(r"(\[[^\]\s]+\]|[^:/\[\]\s]+)(:(?P<port>[0-9]{1,5}))?")
"""A host by its name or number, IPv6 in brackets, and a port."""
MOST_INT = 2_147_483_647
_LEGAL_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")


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
    session_timeout: float = 10.0
    """A silent worker loses its partitions after this long."""
    rebalance_timeout: float = 30.0
    """A worker that does not take part in a rebalance within this long is left out of it."""
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
    max_partition_fetch_bytes: int = 1 << 20
    """So much of a source partition is fetched at a time at most; a batch that is larger comes
    alone."""
    topic_partitions: int | None = None
    """Of declared topics that are created and name no partitions; None: the broker's default."""
    replication_factor: int = -1
    """Of topics that the app creates; -1 is the broker's default."""
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
) -> Settings:
    """The settings in force; arguments that are None count as not given."""
    found: dict[str, Any] = {}
    found.update(_from_file((directory or Path.cwd()) / "pyproject.toml"))
    found.update(_from_environment(os.environ if environment is None else environment))
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


def _checked(name: str, value: Any, origin: str) -> Any:
    if name not in _FIELDS:
        close = difflib.get_close_matches(name, _FIELDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(_FIELDS)}"
        raise SettingsError(f"unknown setting {name!r} from {origin}: {hint}")
    try:
        return _converted(name, value)
    except (ValueError, TypeError) as error:
        if name in _SECRETS:
            value = "..."
        raise SettingsError(f"bad value {value!r} for {name!r} from {origin}: {error}") from error


def _converted(name: str, value: Any) -> Any:
    if name == "security_protocol":
        return _one_of(value, PROTOCOLS)
    if name == "sasl_mechanism":
        return _one_of(value, MECHANISMS)
    if name == "compression":
        return _one_of(value, tuple(COMPRESSIONS))
    if name in _TEXTS:
        if not (isinstance(value, str | os.PathLike) and str(value)):
            raise ValueError("a text is expected")
        return str(value)
    if name == "processing_guarantee":
        if value not in (EXACTLY_ONCE, AT_LEAST_ONCE):
            raise ValueError(f"use {EXACTLY_ONCE!r} or {AT_LEAST_ONCE!r}")
        return cast("Guarantee", value)
    if name == "web_open":
        return _yes_or_no(value)
    if isinstance(value, bool):
        raise ValueError("a number is expected")
    if name == "web_port":
        if not 0 <= int(value) == float(value) <= MOST_PORT:
            raise ValueError(f"a port is expected, 0 (any) to {MOST_PORT}")
        return int(value)
    if name == "group_instance_id":
        if not (isinstance(value, str) and _LEGAL_ID.fullmatch(value)):
            raise ValueError("a name of letters, digits, '.', '_' and '-' is expected")
        return value
    if name in _WHOLE_NUMBERS:
        least = _WHOLE_NUMBERS[name]
        if int(value) != float(value) or not least <= int(value) <= MOST_INT:
            raise ValueError("a whole number is expected")
        return int(value)
    seconds = value.total_seconds() if isinstance(value, datetime.timedelta) else float(value)
    if not 0 < seconds < math.inf:
        raise ValueError("it must be a number of seconds, more than 0")
    return seconds


def _yes_or_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    found = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in found:
        raise ValueError("true or false is expected")
    return found[str(value).lower()]


def _one_of(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"use one of {', '.join(allowed)}")
    return str(value)


def check_app_id(id: object) -> str:
    """Refuse an app id that cannot be part of topic and directory names."""
    if not isinstance(id, str) or not _LEGAL_ID.fullmatch(id) or id in (".", ".."):
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
