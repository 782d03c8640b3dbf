"""PLAIN (RFC 4616): name and password as they are, so only sensible under TLS.

The password is checked against the user's SCRAM credential: the broker keeps no password. That is
slow on purpose, and so left to another thread. An unknown user costs the same time as a known one.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from flowstream.broker.security.exchange import Failure, Proving, Step, Success
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
        """What proves the password, or Failure."""
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
        return self._proving(user, password)

    def _proving(self, user: str, password: str) -> Proving:
        found = {each: kept for each, lookup in self.lookups.items() if (kept := lookup(user))}
        mechanism = next(iter(found or self.lookups))
        shown = found.get(mechanism) or decoy(mechanism, user, self.decoy_secret)

        def judge(proved: bytes) -> Success | Failure:
            key = credential(mechanism, proved, shown.salt, shown.iterations).stored_key
            if hmac.compare_digest(key, shown.stored_key) and found:
                return Success(b"", user)
            return Failure("wrong user or password for PLAIN")

        work = partial(salted, mechanism, password, shown.salt, shown.iterations)
        return Proving(work, judge)
