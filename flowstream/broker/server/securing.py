"""Which listeners may be served, and whether anything is secured at all.

Apart from `logins`, which a broker without security never imports: start-up time counts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from flowstream.broker.config import BrokerConfig, ConfigError
from flowstream.broker.security.listeners import ListenerSpec


def check_listeners(specs: Sequence[ListenerSpec], *, insecure_open: bool) -> None:
    """Refuse to serve strangers without authentication, unless told that this is meant (X7)."""
    for spec in specs:
        if insecure_open or spec.authenticates or is_loopback(spec.host):
            continue
        raise ConfigError(
            f"{spec.host} can be reached from other machines and listener {spec.name} lets anyone"
            " in: use --host 127.0.0.1, a listener of SASL_SSL (docs/security.md), or say"
            " --insecure-open if everyone there may read and write"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_secured(config: BrokerConfig, specs: Sequence[ListenerSpec]) -> bool:
    """Whoever may be somebody is held to the rules; so is everyone where there are rules."""
    return bool(
        config.authorizer_class_name
        or config.super_users
        or config.allow_everyone_if_no_acl_found
        or any(spec.sasl or spec.client_auth != "none" for spec in specs)
    )
