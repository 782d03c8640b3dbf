"""Who may do what, for one broker: super users first, then the access rules, else no (X7)."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowstream.broker.security.acl import Acls
from flowstream.broker.types import Session
from flowstream.wire.acl_codes import CLUSTER_NAME, Operation, ResourceType

MOST_TOLD = 3
MOST_CHARACTERS = 249
"""Of a name in the log: as many as a topic's may have."""
ANY_NAME = "hardcode"
"""Kafka asks about a resource of this name first when any would do: rules on all of them count."""


@dataclass(frozen=True, slots=True)
class Authorizer:
    """`super.users` may do everything; `allow_unruled` is `allow.everyone.if.no.acl.found`."""

    acls: Acls
    super_users: frozenset[str] = frozenset()
    allow_unruled: bool = False

    def allows(
        self, session: Session, host: str, operation: Operation, type: ResourceType, name: str
    ) -> bool:
        """Whether the peer of `session` may do `operation` to a resource."""
        principal = str(session.principal)
        if principal in self.super_users:
            return True
        verdict = self.acls.verdict(principal, host, operation, type, name)
        return self.allow_unruled if verdict is None else verdict

    def allows_somewhere(
        self, session: Session, host: str, operation: Operation, type: ResourceType
    ) -> bool:
        """Whether there may be a resource of this type that it is allowed on."""
        if self.allows(session, host, operation, type, ANY_NAME):
            return True
        return self.acls.allows_somewhere(str(session.principal), host, operation, type)


@dataclass(frozen=True, slots=True)
class Access:
    """One peer's permissions, as the rules of requests ask for them."""

    authorizer: Authorizer
    session: Session
    host: str
    denied: dict[str, None] = field(default_factory=dict)
    """What was asked for and is not allowed: the first few."""

    @property
    def everything(self) -> bool:
        """Whether the peer is a super user."""
        return str(self.session.principal) in self.authorizer.super_users

    def topic(self, operation: Operation, name: str) -> bool:
        """Whether `operation` is allowed on the topic `name`."""
        return self.may(operation, ResourceType.TOPIC, name)

    def group(self, operation: Operation, name: str) -> bool:
        """Whether `operation` is allowed on the group `name`."""
        return self.may(operation, ResourceType.GROUP, name)

    def transactional_id(self, operation: Operation, name: str) -> bool:
        """Whether `operation` is allowed on the transactional id `name`."""
        return self.may(operation, ResourceType.TRANSACTIONAL_ID, name)

    def cluster(self, operation: Operation) -> bool:
        """Whether `operation` is allowed on the cluster."""
        return self.may(operation, ResourceType.CLUSTER, CLUSTER_NAME)

    def some_topic(self, operation: Operation) -> bool:
        """Whether `operation` is allowed on some topic (KIP-679)."""
        return self.authorizer.allows_somewhere(
            self.session, self.host, operation, ResourceType.TOPIC
        )

    def may(self, operation: Operation, type: ResourceType, name: str) -> bool:
        """Whether `operation` is allowed on a resource."""
        allowed = self.authorizer.allows(self.session, self.host, operation, type, name)
        if not allowed and len(self.denied) < MOST_TOLD:
            kind = type.name.lower()
            told = f"{operation.name.lower()} {kind} {name[:MOST_CHARACTERS]!r}"
            self.denied[told] = None
        return allowed
