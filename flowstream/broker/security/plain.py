"""PLAIN (RFC 4616): name and password as they are, so only sensible under TLS.

The password is checked against the user's SCRAM credential: the broker keeps no password. An
unknown user costs the same time as a known one.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from flowstream.broker.security.exchange import Failure, Step, Success
from flowstream.broker.security.scram import (
    Lookup,
    Mechanism,
    credential,
    decoy,
    salted,
)

MAX_MESSAGE = 4_096


@dataclass(slots=True, repr=False)
class PlainExchange:
    """One login, of one message."""

    lookups: Mapping[Mechanism, Lookup]
    decoy_secret: bytes

    def step(self, data: bytes, now: int) -> Step:
        """Success or Failure: there is nothing to go on with."""
        if len(data) > MAX_MESSAGE:
            return Failure("a PLAIN message that is too long")
        try:
            authorization_id, user, password = data.decode().split("\0")
        except ValueError:
            return Failure("a malformed PLAIN message")
        if not user or not password:
            return Failure("PLAIN without user or password")
        if authorization_id not in ("", user):
            return Failure("a client may log in as itself only")
        if not self._is_right(user, password):
            return Failure("wrong user or password for PLAIN")
        return Success(b"", user)

    def _is_right(self, user: str, password: str) -> bool:
        found = {each: kept for each, lookup in self.lookups.items() if (kept := lookup(user))}
        mechanism = next(iter(found or self.lookups))
        shown = found.get(mechanism) or decoy(mechanism, user, self.decoy_secret)
        proved = salted(mechanism, password, shown.salt, shown.iterations)
        key = credential(mechanism, proved, shown.salt, shown.iterations).stored_key
        return hmac.compare_digest(key, shown.stored_key) and bool(found)
