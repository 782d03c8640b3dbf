"""Where the settings of `flowstream broker` come from, and which of two wins.

The command line wins over `--set`, that over FLOWSTREAM_BROKER_* in the environment, that over the
file of `--config`, that over the defaults. Text in, typed values out: what a setting means is known
in `flowstream.broker.config`; every error names its origin.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from flowstream.broker.config import (
    LISTENER_SETTINGS,
    NO_EFFECT,
    SETTINGS,
    BrokerConfig,
    ConfigError,
    setting_of,
    text_of,
)

PREFIX = "FLOWSTREAM_BROKER_"
CONFIG = PREFIX + "CONFIG"
"""Names the file where there is no --config."""
MOST_PORT = 65_535
DURABILITIES = ("fsync", "os")
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class Given(NamedTuple):
    """A setting's text and where it stands: `broker.toml:3`, a variable's name, `--set`."""

    text: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All that a broker process is started with."""

    config: BrokerConfig
    data: Path = Path(".flowstream/broker")
    host: str = "127.0.0.1"
    port: int = 9092
    durability: str = "fsync"
    insecure_open: bool = False
    log_level: str = "warning"
    log_format: str = "text"
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    users: Path | None = None
    notes: tuple[str, ...] = ()
    """What a start has to tell: settings of Apache Kafka that change nothing here."""


def port_of(text: str) -> int:
    """A port number; ValueError for what is none (the system would take it modulo 65536)."""
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= MOST_PORT:
        raise ValueError(f"a port is a number from 0 to {MOST_PORT}")
    return number


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false is expected")
    return text.lower() == "true"


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"one of {', '.join(allowed)} is expected")
        return text.lower()

    return read


class Option(NamedTuple):
    """A setting of the process, beside Kafka's: its attribute of `Launch`, reader and meaning."""

    attribute: str
    read: Callable[[str], Any]
    doc: str


_OPTIONS: Mapping[str, Option] = {
    "data": Option("data", Path, "data directory, made when absent"),
    "host": Option("host", str, "address to serve"),
    "port": Option("port", port_of, "port to serve; 0 picks a free one"),
    "durability": Option("durability", _one_of(*DURABILITIES), "when a write is acknowledged"),
    "insecure.open": Option("insecure_open", _flag, "serve others without authentication"),
    "users": Option("users", Path, "file of NAME:PASSWORD lines, for the first start"),
    "log.level": Option("log_level", _one_of(*LOG_LEVELS), "least severity that is logged"),
    "log.format": Option("log_format", _one_of(*LOG_FORMATS), "lines for people or programs"),
    "metrics.host": Option("metrics_host", str, "address of metrics and health"),
    "metrics.port": Option("metrics_port", port_of, "port of metrics and health; empty: none"),
}
"""By their names in a file."""


_OF_LISTENER = "listener.name."
_OF_SECURITY = ("ssl.", "sasl.", "connections.max.reauth.ms", _OF_LISTENER)
_HIDDEN = ("ssl.key.password", "ssl.keystore.key")
"""What nobody else may know."""


def launch_of(options: argparse.Namespace, environment: Mapping[str, str]) -> Launch:
    """What command line, environment and file say together. Raises ConfigError."""
    given: dict[str, Given] = {}
    notes: list[str] = []
    for source in _sources(options, environment):
        found, told = _translated(source)
        given |= found
        notes += told
    launch: dict[str, Any] = {
        _OPTIONS[name].attribute: _read(name, given.pop(name)) for name in _OPTIONS if name in given
    }
    for option in _OPTIONS.values():
        value = getattr(options, option.attribute, None)
        if value is not None:
            launch[option.attribute] = value
    config = config_of(given)
    if config.listeners and ("host" in launch or "port" in launch):
        raise ConfigError("`listeners` says where to listen: leave --host and --port out")
    notes += [
        f"{value.origin}: {name} changes nothing: this broker does without it"
        for name, value in given.items()
        if name in SETTINGS and SETTINGS[name].doc.endswith(NO_EFFECT)
    ]
    notes += [
        f"{value.origin}: everyone on this machine can read a command line: set it in a file, or as"
        f" {PREFIX}{name.upper().replace('.', '_')}"
        for name, value in given.items()
        if setting_of(name) in _HIDDEN and value.origin.startswith("--set")
    ]
    made = Launch(config=config, **launch)
    return replace(made, notes=(*notes, *_unused(given, made)))


def _unused(given: Mapping[str, Given], launch: Launch) -> Iterator[str]:
    """A note of each setting of TLS and logins that no listener reads."""
    secured = [name for name in given if name.startswith(_OF_SECURITY)]
    if not secured:
        return
    from flowstream.broker.security.listeners import parse_listeners, unused_settings

    specs = parse_listeners(launch.config, launch.host, launch.port)
    listeners = ", ".join(f"{spec.name} ({spec.protocol})" for spec in specs)
    for name in unused_settings(secured, specs):
        yield (
            f"{given[name].origin}: {name} secures nothing: no listener uses it, there is only"
            f" {listeners} (`listeners`, docs/security.md)"
        )


def _sources(
    options: argparse.Namespace, environment: Mapping[str, str]
) -> Iterator[dict[str, Given]]:
    """The weakest first."""
    config = options.config or environment.get(CONFIG)
    if config:
        from flowstream.cli.config_files import read_config  # only who has one waits for it

        yield read_config(Path(config))
    yield from_environment(environment)
    yield from_pairs(options.settings)


def _translated(given: dict[str, Given]) -> tuple[dict[str, Given], list[str]]:
    """With the words that Apache Kafka has for a process, if there are any."""
    if all(setting_of(name) is not None or name in _OPTIONS for name in given):
        return given, []
    from flowstream.cli.kafka_names import from_kafka

    return from_kafka(given)


def from_pairs(pairs: Sequence[str]) -> dict[str, Given]:
    """The KEY=VALUE pairs of --set. Raises ConfigError."""
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {pair}: KEY=VALUE is expected, e.g. --set num.partitions=4")
        settings[key.strip()] = Given(value.strip(), f"--set {key.strip()}")
    return settings


def from_environment(environment: Mapping[str, str]) -> dict[str, Given]:
    """FLOWSTREAM_BROKER_NUM_PARTITIONS is num.partitions."""
    return {
        _named(name.removeprefix(PREFIX)): Given(value, name)
        for name, value in environment.items()
        if name.startswith(PREFIX) and name not in (PREFIX, CONFIG)
    }


def _named(variable: str) -> str:
    """The setting of a variable. A listener's name may have underscores of its own.

    >>> _named("NUM_PARTITIONS"), _named("LISTENER_NAME_SASL_SSL_SSL_KEY_PASSWORD")
    ('num.partitions', 'listener.name.sasl_ssl.ssl.key.password')
    """
    name = variable.lower().replace("_", ".")
    of_listener = name.removeprefix(_OF_LISTENER)
    for setting in LISTENER_SETTINGS if of_listener != name else ():
        if of_listener.endswith("." + setting):
            listener = of_listener.removesuffix("." + setting).replace(".", "_")
            return f"{_OF_LISTENER}{listener}.{setting}"
    return name


def config_of(given: Mapping[str, Given]) -> BrokerConfig:
    """The broker's settings, Kafka's names. Raises ConfigError with the setting's origin."""
    unknown = next((name for name in given if setting_of(name) is None), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, [*SETTINGS, *_OPTIONS], n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else "`flowstream broker --list-settings` has all"
        )
        raise ConfigError(f"{given[unknown].origin}: unknown setting {unknown!r}; {hint}")
    try:
        return BrokerConfig.of({name: value.text for name, value in given.items()})
    except ConfigError:
        for name, value in given.items():
            _check_alone(name, value)
        raise  # each is right alone, together they are not: the message names both


def _check_alone(name: str, value: Given) -> None:
    declared = SETTINGS[setting_of(name) or name]
    try:
        declared.kind.parse(value.text)
    except ValueError as error:
        raise ConfigError(
            f"{value.origin}: bad value {value.text!r} for setting {name}: {error}"
            f" (it is {declared.doc})"
        ) from None


def settings_text() -> str:
    """Every setting with its default and its meaning, one a line."""
    launch = {field.name: field.default for field in fields(Launch)}
    rows = [(name, launch[option.attribute], option.doc) for name, option in _OPTIONS.items()]
    rows += [(each.name, each.default, each.doc) for each in SETTINGS.values()]
    lines = [f"{name} = {text_of(_shown(default)) or ''}  # {doc}" for name, default, doc in rows]
    return "\n".join(lines)


def _shown(default: object) -> object:
    return str(default) if isinstance(default, Path) else default


def _read(name: str, value: Given) -> object:
    try:
        return _OPTIONS[name].read(value.text)
    except ValueError as error:
        raise ConfigError(
            f"{value.origin}: bad value {value.text!r} for setting {name}: {error}"
        ) from None
