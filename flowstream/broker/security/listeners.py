"""Where a broker listens and how each listener is secured, read from Kafka's settings.

`listeners`, `advertised.listeners`, `listener.security.protocol.map`; settings of one listener
alone are written `listener.name.<name>.<setting>` (KIP-103). Pure: opens no file and no port.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from flowstream.broker.config import (
    LISTENER_SETTINGS,
    OAUTHBEARER,
    SETTINGS,
    BrokerConfig,
    ConfigError,
    setting_of,
)
from flowstream.broker.security.principals import BadRules, parse_rules
from flowstream.broker.setting_kinds import BadValue, Secret

PROTOCOLS = {"PLAINTEXT": 0, "SSL": 1, "SASL_PLAINTEXT": 2, "SASL_SSL": 3}
"""Kafka's security protocols and their numbers."""

MOST_PORT = 65_535
_LISTENER = re.compile(r"([A-Za-z0-9_-]+)://(\[[0-9a-fA-F:.%]+\]|[^:/\s]*):(\d{1,5})")


class ListenerSpec(NamedTuple):
    """One listener. Port 0 picks a free one; `advertised_port` 0 is the port that was bound."""

    name: str
    protocol: str
    host: str
    port: int
    advertised_host: str
    advertised_port: int
    mechanisms: tuple[str, ...] = ()
    reauth_ms: int = 0
    client_auth: str = "none"
    keystore: str = ""
    truststore: str = ""
    chain_pem: str = ""
    key_pem: str = Secret("")
    key_password: str = Secret("")
    truststore_pem: str = ""
    tls_versions: tuple[str, ...] = ()

    @property
    def tls(self) -> bool:
        """Whether bytes are encrypted."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def sasl(self) -> bool:
        """Whether a client has to log in before anything else (X1)."""
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @property
    def authenticates(self) -> bool:
        """Whether every peer is somebody."""
        return self.sasl or (self.tls and self.client_auth == "required")


def parse_listeners(config: BrokerConfig, host: str, port: int) -> tuple[ListenerSpec, ...]:
    """The listeners of `config`; without the setting one plain one on `host:port`. Raises
    ConfigError.
    """
    _check_rules(config)
    if not config.listeners:
        if config.advertised_listeners:
            raise ConfigError("advertised.listeners without listeners: set both")
        return (ListenerSpec("PLAINTEXT", "PLAINTEXT", host, port, host, 0),)
    protocols = _protocol_map(config)
    advertised = _addresses("advertised.listeners", config.advertised_listeners)
    found = _addresses("listeners", config.listeners)
    strange = [name for name in (*advertised, *config.of_listener) if name not in found]
    if strange:
        raise ConfigError(f"{strange[0]} is no listener: `listeners` names {', '.join(found)}")
    specs = []
    for name, (bind_host, bind_port) in found.items():
        if name not in protocols:
            raise ConfigError(
                f"listener {name} has no security protocol: add {name}:PROTOCOL to"
                " listener.security.protocol.map"
            )
        shown_host, shown_port = advertised.get(name, (bind_host, bind_port))
        if shown_host in ("", "0.0.0.0", "::"):
            raise ConfigError(
                f"listener {name} serves every address of this machine: say in"
                " advertised.listeners which one clients should use"
            )
        specs.append(
            _checked(
                ListenerSpec(
                    name,
                    protocols[name],
                    bind_host,
                    bind_port,
                    shown_host,
                    shown_port,
                    **_security(config, name, protocols[name]),
                )
            )
        )
    return tuple(specs)


def unused_settings(names: Iterable[str], specs: Iterable[ListenerSpec]) -> list[str]:
    """Those of the settings `names` about encryption and logins that none of the listeners reads:
    who set them believes to be secured by them.
    """
    found = by_name(specs)
    return [name for name in names if not any(map(_reader_of(name), _concerned(name, found)))]


def _concerned(name: str, specs: Mapping[str, ListenerSpec]) -> Iterable[ListenerSpec]:
    of_listener = re.fullmatch(r"listener\.name\.([A-Za-z0-9_-]+)\..+", name)
    if of_listener is None:
        return specs.values()
    return [spec for spec in specs.values() if spec.name == of_listener[1].upper()]


def _reader_of(name: str) -> Callable[[ListenerSpec], bool]:
    """Whether a listener reads the setting."""
    setting = setting_of(name) or name
    if setting.startswith("sasl.oauthbearer."):
        return lambda spec: spec.sasl and OAUTHBEARER in spec.mechanisms
    if setting.startswith("sasl.") or setting == "connections.max.reauth.ms":
        return lambda spec: spec.sasl
    if setting == "ssl.principal.mapping.rules" or setting.startswith("ssl.truststore."):
        return lambda spec: spec.tls and spec.client_auth != "none"
    if setting == "ssl.client.auth" and setting == name:
        # Said for all it is not for those who log in by SASL.
        return lambda spec: spec.protocol == "SSL"
    if setting.startswith("ssl."):
        return lambda spec: spec.tls
    return lambda spec: True


def _check_rules(config: BrokerConfig) -> None:
    try:
        parse_rules(config.ssl_principal_mapping_rules)
    except BadRules as error:
        raise ConfigError(f"ssl.principal.mapping.rules: {error}") from error


def _protocol_map(config: BrokerConfig) -> dict[str, str]:
    found = {}
    for entry in config.listener_security_protocol_map.split(","):
        name, colon, protocol = (part.strip() for part in entry.partition(":"))
        if not colon or protocol.upper() not in PROTOCOLS:
            raise ConfigError(
                f"listener.security.protocol.map: {entry!r} is not NAME:PROTOCOL with one of"
                f" {', '.join(PROTOCOLS)}"
            )
        found[name.upper()] = protocol.upper()
    return found


def _addresses(setting: str, entries: tuple[str, ...]) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for entry in entries:
        match = _LISTENER.fullmatch(entry)
        if match is None or int(match[3]) > MOST_PORT:
            raise ConfigError(f"{setting}: {entry!r} is not NAME://HOST:PORT")
        name = match[1].upper()
        if name in found:
            raise ConfigError(f"{setting}: {name} is there twice")
        host = match[2].strip("[]") or ("0.0.0.0" if setting == "listeners" else "")
        found[name] = (host, int(match[3]))
    return found


def _security(config: BrokerConfig, name: str, protocol: str) -> dict[str, Any]:
    own = config.of_listener.get(name, {})

    def value(setting: str) -> Any:
        declared = SETTINGS[setting]
        if setting not in own:
            return getattr(config, declared.attribute)
        try:
            return declared.kind.parse(own[setting])
        except BadValue as error:
            key = f"listener.name.{name.lower()}.{setting}"
            raise ConfigError(f"bad value {own[setting]!r} for setting {key}: {error}") from None

    found: dict[str, Any] = {field: value(setting) for setting, field in LISTENER_SETTINGS.items()}
    if protocol.startswith("SASL") and "ssl.client.auth" not in own:
        # As in Kafka: who logs in by SASL needs a certificate only where that is said.
        found["client_auth"] = "none"
    return found


def _checked(spec: ListenerSpec) -> ListenerSpec:
    if spec.sasl and not spec.mechanisms:
        raise ConfigError(f"listener {spec.name} has no mechanism: set sasl.enabled.mechanisms")
    if spec.tls:
        _check_certificates(spec)
    return spec


def _check_certificates(spec: ListenerSpec) -> None:
    inline = bool(spec.chain_pem), bool(spec.key_pem)
    if not spec.keystore and inline != (True, True):
        raise ConfigError(
            f"listener {spec.name} needs a certificate: set ssl.keystore.location to a PEM file"
            " with private key and certificate chain, or ssl.keystore.key and"
            " ssl.keystore.certificate.chain to the PEM text itself"
        )
    if spec.keystore and any(inline):
        raise ConfigError(
            f"listener {spec.name} has two certificates: set ssl.keystore.location, or"
            " ssl.keystore.key and ssl.keystore.certificate.chain"
        )
    if spec.truststore and spec.truststore_pem:
        raise ConfigError(
            f"listener {spec.name} has two lists of authorities: set ssl.truststore.location or"
            " ssl.truststore.certificates"
        )
    if spec.client_auth != "none" and not (spec.truststore or spec.truststore_pem):
        raise ConfigError(
            f"listener {spec.name} checks client certificates: set ssl.truststore.location to a"
            " PEM file with the authorities that sign them, or ssl.truststore.certificates to the"
            " PEM text itself"
        )


def by_name(specs: Iterable[ListenerSpec]) -> Mapping[str, ListenerSpec]:
    """The listeners by their names."""
    return {spec.name: spec for spec in specs}
