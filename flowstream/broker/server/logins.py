"""From settings to who may do what and how clients log in."""

from __future__ import annotations

from collections.abc import Sequence

from flowstream.broker.config import OAUTHBEARER, BrokerConfig, ConfigError
from flowstream.broker.cores import Cores
from flowstream.broker.security.authorizer import Authorizer
from flowstream.broker.security.listeners import ListenerSpec, by_name
from flowstream.broker.security.sasl import Sasl
from flowstream.broker.security.tokens import KeyRing, TokenRules
from flowstream.broker.server.token_keys import KeySource, key_source


def secure(cores: Cores, config: BrokerConfig, specs: Sequence[ListenerSpec]) -> KeySource | None:
    """Put the authorizer in force, and logins where listeners ask for them. Returns where the
    tokens' keys come from, if there are tokens. Raises ConfigError.
    """
    supers = frozenset(filter(None, (u.strip() for u in config.super_users.split(";"))))
    strange = [each for each in supers if ":" not in each]
    if strange:
        raise ConfigError(f"super.users: {strange[0]!r} is not TYPE:NAME, e.g. User:admin")
    allow = config.allow_everyone_if_no_acl_found
    cores.authorizer = Authorizer(cores.image.acls, supers, allow)
    if not any(spec.sasl for spec in specs):
        return None
    ring = KeyRing()
    credentials = cores.image.credentials
    cores.sasl = Sasl(
        by_name(specs),
        lambda mechanism, user: credentials.get((mechanism, user)),
        cores.rng,
        ring,
        TokenRules(
            config.sasl_oauthbearer_expected_issuer,
            config.sasl_oauthbearer_expected_audience,
            config.sasl_oauthbearer_sub_claim_name,
            config.sasl_oauthbearer_clock_skew_seconds * 1000,
        ),
        config.connection_failed_authentication_delay_ms,
    )
    if not any(OAUTHBEARER in spec.mechanisms for spec in specs):
        return None
    return key_source(config, ring)
