"""Access rules with Kafka's semantics (KIP-11, KIP-290): literal, prefixed and wildcard patterns.

Deny wins over allow; a permission implies Describe or DescribeConfigs; nothing that is not allowed
is allowed. It must not know where rules are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from flowstream.broker.addresses import spelled
from flowstream.wire.acl_codes import Operation, PatternType, Permission, ResourceType

WILDCARD = "*"
"""Every resource of a type, as the name of a literal pattern; every host."""
ANYONE = "User:*"

_IMPLIES = {
    Operation.DESCRIBE: frozenset(
        (Operation.DESCRIBE, Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER)
    ),
    Operation.DESCRIBE_CONFIGS: frozenset((Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS)),
}
"""By which allowed operations an operation is allowed too."""

OPERATIONS_OF = {
    ResourceType.TOPIC: (
        Operation.READ,
        Operation.WRITE,
        Operation.CREATE,
        Operation.DELETE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    ResourceType.GROUP: (
        Operation.READ,
        Operation.DELETE,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    ResourceType.CLUSTER: (
        Operation.CREATE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.CLUSTER_ACTION,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
        Operation.IDEMPOTENT_WRITE,
    ),
    ResourceType.TRANSACTIONAL_ID: (
        Operation.WRITE,
        Operation.DESCRIBE,
        Operation.TWO_PHASE_COMMIT,
    ),
    ResourceType.DELEGATION_TOKEN: (Operation.DESCRIBE,),
    ResourceType.USER: (Operation.CREATE_TOKENS, Operation.DESCRIBE_TOKENS),
}
"""The operations that a rule on each type of resource may name, beside ALL."""


class Rule(NamedTuple):
    """One access rule."""

    resource_type: int
    name: str
    pattern_type: int
    principal: str
    host: str
    operation: int
    permission: int


class RuleFilter(NamedTuple):
    """Which rules are meant; None and ANY match everything (DescribeAcls, DeleteAcls)."""

    resource_type: int
    name: str | None
    pattern_type: int
    principal: str | None
    host: str | None
    operation: int
    permission: int

    def matches(self, rule: Rule) -> bool:
        """Whether `rule` is one of those that are meant."""
        return (
            self.resource_type in (ResourceType.ANY, rule.resource_type)
            and self.operation in (Operation.ANY, rule.operation)
            and self.permission in (Permission.ANY, rule.permission)
            and self.principal in (None, rule.principal)
            and self.host in (None, rule.host)
            and self._matches_pattern(rule)
        )

    def _matches_pattern(self, rule: Rule) -> bool:
        if self.pattern_type not in (PatternType.ANY, PatternType.MATCH, rule.pattern_type):
            return False
        if self.name is None or self.name == rule.name:
            return True
        if self.pattern_type != PatternType.MATCH:
            return False
        if rule.pattern_type == PatternType.PREFIXED:
            return self.name.startswith(rule.name)
        return rule.name == WILDCARD


@dataclass(slots=True)
class _Rules:
    """The rules of one type of resource, found by name and by prefix."""

    literal: dict[str, dict[bytes, Rule]] = field(default_factory=dict)
    prefixed: dict[int, dict[str, dict[bytes, Rule]]] = field(default_factory=dict)
    """By the length of the prefix: a name may have 32,767 prefixes, and few are ruled (X4)."""

    def add(self, id: bytes, rule: Rule) -> None:
        rules = self.literal
        if rule.pattern_type == PatternType.PREFIXED:
            rules = self.prefixed.setdefault(len(rule.name), {})
        rules.setdefault(rule.name, {})[id] = rule

    def remove(self, id: bytes, rule: Rule) -> None:
        prefixed = rule.pattern_type == PatternType.PREFIXED
        rules = self.prefixed[len(rule.name)] if prefixed else self.literal
        del rules[rule.name][id]
        if not rules[rule.name]:
            del rules[rule.name]
        if prefixed and not rules:
            del self.prefixed[len(rule.name)]

    def about(self, name: str) -> Iterator[Rule]:
        """Every rule whose pattern matches `name`."""
        for key in (name, WILDCARD):
            yield from self.literal.get(key, {}).values()
        for length, rules in self.prefixed.items():
            if length <= len(name):
                yield from rules.get(name[:length], {}).values()


@dataclass(slots=True)
class Acls:
    """All access rules by id, and whom they let do what. Equal when their rules are."""

    by_id: dict[bytes, Rule] = field(default_factory=dict)
    _ids: dict[Rule, bytes] = field(default_factory=dict, compare=False)
    _by_type: dict[int, _Rules] = field(default_factory=dict, compare=False)

    def add(self, id: bytes, rule: Rule) -> None:
        """Let `rule` hold."""
        self.by_id[id] = rule
        self._ids[rule] = id
        self._by_type.setdefault(rule.resource_type, _Rules()).add(id, rule)

    def remove(self, id: bytes) -> None:
        """Let the rule with this id hold no longer; KeyError when there is none."""
        rule = self.by_id.pop(id)
        self._ids.pop(rule, None)
        self._by_type[rule.resource_type].remove(id, rule)

    def __contains__(self, rule: Rule) -> bool:
        return rule in self._ids

    def matching(self, wanted: RuleFilter) -> list[tuple[bytes, Rule]]:
        """The rules that `wanted` means, with their ids."""
        return [(id, rule) for id, rule in self.by_id.items() if wanted.matches(rule)]

    def verdict(
        self, principal: str, host: str, operation: Operation, type: ResourceType, name: str
    ) -> bool | None:
        """Whether the rules allow it; None when no rule is about the resource at all."""
        rules = self._by_type.get(type)
        if rules is None:
            return None
        found: bool | None = None
        for rule in rules.about(name):
            found = found or False
            if rule.principal not in (principal, ANYONE) or not _is_from(rule, host):
                continue
            if rule.permission == Permission.DENY:
                if rule.operation in (operation, Operation.ALL):
                    return False
            elif rule.operation == Operation.ALL or rule.operation in _IMPLIES.get(
                operation, (operation,)
            ):
                found = True
        return found

    def allows_somewhere(
        self, principal: str, host: str, operation: Operation, type: ResourceType
    ) -> bool:
        """Whether there is some resource of this type that it is allowed on (KIP-679)."""
        mine = [
            rule
            for rule in self.by_id.values()
            if rule.resource_type == type
            and rule.operation in (operation, Operation.ALL)
            and rule.principal in (principal, ANYONE)
            and _is_from(rule, host)
        ]
        denied = [rule for rule in mine if rule.permission == Permission.DENY]
        return any(
            not any(_covers(deny, rule) for deny in denied)
            for rule in mine
            if rule.permission == Permission.ALLOW
        )


def _is_from(rule: Rule, host: str) -> bool:
    """Whether `rule` is about clients at `host`."""
    if rule.host in (host, WILDCARD):
        return True
    return ":" in rule.host and spelled(rule.host) == spelled(host)


def _covers(deny: Rule, allow: Rule) -> bool:
    """Whether every resource that `allow` is about is one that `deny` is about."""
    if deny.pattern_type == PatternType.PREFIXED:
        return allow.name.startswith(deny.name) and allow.name != WILDCARD
    if deny.name == WILDCARD:
        return True
    return allow.pattern_type == PatternType.LITERAL and allow.name == deny.name
