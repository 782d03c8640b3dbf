"""From settings to who may do what and how clients log in, and the keys of tokens, which follow
their file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flowstream.broker.config import BrokerConfig, ConfigError
from flowstream.broker.cores import Cores
from flowstream.broker.security.authorizer import Authorizer
from flowstream.broker.security.listeners import ListenerSpec, by_name
from flowstream.broker.security.principals import BadRules, parse_rules
from flowstream.broker.security.sasl import OAUTHBEARER, Sasl
from flowstream.broker.security.tokens import KeyRing, Keys, TokenRules

log = logging.getLogger("flowstream.broker")

REFRESH_SECONDS = 5.0


def secure(cores: Cores, config: BrokerConfig, specs: Sequence[ListenerSpec]) -> KeyFile | None:
    """Put the authorizer in force, and logins where listeners ask for them. Returns the file of the
    tokens' keys, if there is one. Raises ConfigError.
    """
    try:
        parse_rules(config.ssl_principal_mapping_rules)
    except BadRules as error:
        raise ConfigError(f"ssl.principal.mapping.rules: {error}") from error
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
    return KeyFile(_path_of(config.sasl_oauthbearer_jwks_endpoint_url), ring)


def _path_of(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ConfigError(
            f"sasl.oauthbearer.jwks.endpoint.url {url!r}: OAUTHBEARER needs the issuer's keys as"
            " file:///path/to/jwks.json; fetch a remote key set by other means, the file is read"
            " again when it changes"
        )
    return Path(unquote(parts.path))


class KeyFile:
    """A JWKS file whose keys are in force; read again when it changes. A file that cannot be used
    leaves the old keys in force.
    """

    def __init__(self, path: Path, ring: KeyRing) -> None:
        """Raises ConfigError."""
        self._path = path
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._stamp: tuple[int, int] | None = None
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise ConfigError(f"sasl.oauthbearer.jwks.endpoint.url: {path}: {error}") from error
        except ImportError as error:
            raise ConfigError("OAUTHBEARER needs PyJWT: pip install 'flowstream[oauth]'") from error

    def watch(self) -> None:
        """Look at the file at intervals."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(REFRESH_SECONDS, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def refresh(self) -> None:
        """Read the file if it has changed."""
        try:
            if self._stamped() != self._stamp:
                self._read()
        except (OSError, ValueError) as error:
            log.error("the old keys of tokens stay in force: %s: %s", self._path, error)

    def _look(self) -> None:
        self.refresh()
        self.watch()

    def _read(self) -> None:
        self._stamp = self._stamped()
        self._ring.keys = Keys(json.loads(self._path.read_bytes()))

    def _stamped(self) -> tuple[int, int]:
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_size
