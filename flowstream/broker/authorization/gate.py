"""The gate before the handlers: every request is authorised here, or refused (X1, X2, X7).

Lives here: the one place where table, login and request meet, and the answers that have to be
completed when they leave. It exists only where security is configured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flowstream.broker.authorization.admission import Admission, Amend
from flowstream.broker.authorization.table import TABLE
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.security.authorizer import Access, Authorizer
from flowstream.broker.types import ConnectionId, Instant, ReplyTo
from flowstream.wire.api import ApiKey

BEFORE_LOGIN = frozenset(
    (int(ApiKey.SASL_HANDSHAKE), int(ApiKey.API_VERSIONS), int(ApiKey.SASL_AUTHENTICATE))
)
"""What a client may ask before it said who it is, and when its login has ended."""


_OF_ALL = (int(ApiKey.METADATA), int(ApiKey.DESCRIBE_TOPIC_PARTITIONS))
"""What may ask for all topics: those that are not shown are not refused."""


class Gate:
    """Admits requests of one node, and completes the answers to those it admitted in part."""

    def __init__(self, authorizer: Authorizer, cores: Cores) -> None:
        self._authorizer = authorizer
        self._cores = cores
        # By all of ReplyTo: a client may number requests of two APIs alike while answers wait.
        self._amendments: dict[ConnectionId, dict[ReplyTo, Amend]] = {}

    def admit(self, request: Request[Any], now: Instant) -> Admission:
        """What may be done of `request`."""
        key, session = request.to.api_key, request.session
        if key not in BEFORE_LOGIN:
            if session.protocol.startswith("SASL") and not session.mechanism:
                return Admission(close="a request before the login")
            if session.expires is not None and session.expires <= now:
                return Admission(close="a request after the login has ended (KIP-368)")
        entry = TABLE.get(key)
        if entry is None or not entry.first <= request.to.version <= entry.last:
            return Admission(close=f"API {key} v{request.to.version} has no rule")
        access = Access(self._authorizer, session, request.client_host)
        admission = entry.rule(request, access, self._cores)
        if access.denied and (admission.answer is not None or _in_part(key, admission)):
            denied = f"{ApiKey(key).name} by {str(session.principal)!r} at {request.client_host}"
            told = f"{denied} is refused: not allowed to {', '.join(access.denied)}"
            admission = replace(admission, denied=told)
        if admission.amend is not None and admission.answer is None:
            mine = self._amendments.setdefault(request.to.connection, {})
            mine[request.to] = admission.amend
        return admission

    def complete(self, effects: Iterable[Effect]) -> list[Effect]:
        """The same effects, with answers completed."""
        return [self._completed(e) if isinstance(e, Reply) else e for e in effects]

    def disconnected(self, connection: ConnectionId) -> None:
        """Nobody is left to answer on `connection`."""
        self._amendments.pop(connection, None)

    def _completed(self, reply: Reply) -> Reply:
        mine = self._amendments.get(reply.to.connection)
        amend = mine.pop(reply.to, None) if mine else None
        return reply if amend is None else Reply(reply.to, amend(reply.body))


def _in_part(key: int, admission: Admission) -> bool:
    return admission.body is not None and key not in _OF_ALL
