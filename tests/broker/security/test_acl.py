"""Access rules decide as Kafka's (KIP-11, KIP-290, KIP-679)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstream.broker.security.acl import Acls, Rule, RuleFilter
from flowstream.broker.security.authorizer import Authorizer
from flowstream.broker.types import Principal, Session
from flowstream.wire.acl_codes import Operation, PatternType, Permission, ResourceType

LITERAL, PREFIXED = PatternType.LITERAL, PatternType.PREFIXED
ALLOW, DENY = Permission.ALLOW, Permission.DENY
TOPIC = ResourceType.TOPIC
ALICE = "User:alice"


def rule(
    name: str = "t",
    operation: Operation = Operation.READ,
    permission: Permission = ALLOW,
    *,
    pattern: PatternType = LITERAL,
    principal: str = ALICE,
    host: str = "*",
    type: ResourceType = TOPIC,
) -> Rule:
    return Rule(type, name, pattern, principal, host, operation, permission)


def acls(*rules: Rule) -> Acls:
    made = Acls()
    for number, each in enumerate(rules):
        made.add(number.to_bytes(16, "big"), each)
    return made


def read(rules: Acls, name: str = "t", operation: Operation = Operation.READ) -> bool | None:
    return rules.verdict(ALICE, "10.0.0.1", operation, TOPIC, name)


def test_no_rule_is_no_verdict_and_a_rule_for_others_is_a_refusal() -> None:
    assert read(acls()) is None
    assert read(acls(rule("other"))) is None
    assert read(acls(rule(principal="User:bob"))) is False
    assert read(acls(rule(host="10.0.0.2"))) is False
    assert read(acls(rule(type=ResourceType.GROUP))) is None


def test_literal_prefixed_and_wildcard_patterns() -> None:
    assert read(acls(rule()))
    assert read(acls(rule("pay", pattern=PREFIXED)), "payments")
    assert read(acls(rule("pay", pattern=PREFIXED)), "pay")
    assert read(acls(rule("pay")), "payments") is None
    assert read(acls(rule("*")), "payments")
    assert read(acls(rule("*", pattern=PREFIXED)), "payments") is None, "a prefix of one star"
    assert read(acls(rule(principal="User:*", host="10.0.0.1")))


def test_X4_a_long_name_costs_no_more_than_a_short_one() -> None:
    """The name of a group may have 32 KiB, and a request may name thousands of them."""
    cuts: list[object] = []

    class Name(str):
        __slots__ = ()

        def __getitem__(self, key: object) -> str:
            cuts.append(key)
            return str.__getitem__(self, key)  # type: ignore[index]

    prefixes = ("pay", "web", "payments", "audit.")
    rules = acls(*(rule(prefix, pattern=PREFIXED) for prefix in prefixes))
    for id in (1, 2, 3):
        rules.remove(id.to_bytes(16, "big"))
    assert read(rules, Name("payments" + "s" * 32_000))
    assert len(cuts) == 1, "one length of prefixes is ruled"


def test_X7_deny_wins_whatever_pattern_allows() -> None:
    for allowed, denied in itertools.permutations(
        (rule("t"), rule("t", pattern=PREFIXED), rule("*")), 2
    ):
        assert read(acls(allowed, denied._replace(permission=DENY))) is False
    assert read(acls(rule(), rule(operation=Operation.ALL, permission=DENY))) is False
    assert read(acls(rule(), rule(operation=Operation.DESCRIBE, permission=DENY)))


@pytest.mark.parametrize(
    "by", [Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER, Operation.ALL]
)
def test_what_implies_describe(by: Operation) -> None:
    assert read(acls(rule(operation=by)), operation=Operation.DESCRIBE)
    denied = acls(rule(operation=Operation.DESCRIBE), rule(operation=by, permission=DENY))
    assert read(denied, operation=Operation.DESCRIBE) is (by is not Operation.ALL)


def test_what_implies_nothing() -> None:
    assert read(acls(rule(operation=Operation.CREATE)), operation=Operation.DESCRIBE) is False
    configs = acls(rule(operation=Operation.ALTER_CONFIGS))
    assert read(configs, operation=Operation.DESCRIBE_CONFIGS)
    assert read(configs, operation=Operation.DESCRIBE) is False


def test_some_topic() -> None:
    def somewhere(*rules: Rule) -> bool:
        return acls(*rules).allows_somewhere(ALICE, "h", Operation.READ, TOPIC)

    assert not somewhere()
    assert somewhere(rule("t"))
    assert somewhere(rule("t"), rule("u", permission=DENY))
    assert not somewhere(rule("t"), rule("t", permission=DENY))
    assert not somewhere(rule("t"), rule("*", permission=DENY))
    assert not somewhere(rule("tt", pattern=PREFIXED), rule("t", permission=DENY, pattern=PREFIXED))
    assert somewhere(rule("t", pattern=PREFIXED), rule("t", permission=DENY))
    assert somewhere(rule("*"), rule("t", permission=DENY, pattern=PREFIXED))


def test_super_users_and_everyone() -> None:
    session = Session(Principal("User", "alice"))
    denied = acls(rule(permission=DENY))

    def may(rules: Acls, *, supers: tuple[str, ...] = (), everyone: bool = False) -> bool:
        authorizer = Authorizer(rules, frozenset(supers), everyone)
        return authorizer.allows(session, "h", Operation.READ, TOPIC, "t")

    assert may(denied, supers=(ALICE,))
    assert not may(acls())
    assert may(acls(), everyone=True)
    assert not may(denied, everyone=True)
    assert not may(acls(rule(principal="User:bob")), everyone=True)


def test_X7_addresses_of_IPv6_hold_in_any_spelling() -> None:
    """Apache Kafka writes the longest one, the system the shortest."""

    def may(host: str, *rules: Rule) -> bool | None:
        return acls(*rules).verdict(ALICE, host, Operation.READ, TOPIC, "t")

    for host in ("2001:db8:0:0:0:0:0:5", "2001:DB8::5", "2001:db8::5"):
        assert may("2001:db8::5", rule(host=host))
        assert not may("2001:db8::5", rule(), rule(host=host, permission=DENY))
        assert not may("2001:db8::6", rule(host=host))
        assert not may("10.0.0.5", rule(host=host))
    for host in ("::ffff:10.0.0.5", "0:0:0:0:0:ffff:a00:5"):
        assert not may("10.0.0.5", rule(), rule(host=host, permission=DENY)), "as it was told once"
        assert may("10.0.0.6", rule(), rule(host=host, permission=DENY))
    assert acls(rule(host="0:0:0:0:0:0:0:1")).allows_somewhere(ALICE, "::1", Operation.READ, TOPIC)


def test_X2_everyone_may_somewhere_unless_a_rule_is_about_all_there_is() -> None:
    session = Session(Principal("User", "alice"))

    def somewhere(*rules: Rule) -> bool:
        authorizer = Authorizer(acls(*rules), frozenset(), allow_unruled=True)
        return authorizer.allows_somewhere(session, "h", Operation.READ, TOPIC)

    assert somewhere()
    assert somewhere(rule("t", permission=DENY), rule("u", principal="User:bob"))
    assert not somewhere(rule("*", principal="User:bob"))
    assert not somewhere(rule("*", permission=DENY))
    assert somewhere(rule("*", principal="User:bob"), rule("t"))


def is_about(each: Rule, name: str) -> bool:
    if each.pattern_type == PREFIXED:
        return name.startswith(each.name)
    return each.name in (name, "*")


RULES = st.builds(
    rule,
    st.sampled_from(["a", "ab", "abc", "b", "*"]),
    st.sampled_from([Operation.READ, Operation.WRITE, Operation.ALL]),
    st.sampled_from([ALLOW, DENY]),
    pattern=st.sampled_from([LITERAL, PREFIXED]),
    principal=st.sampled_from([ALICE, "User:bob", "User:*"]),
)


@given(st.lists(RULES, max_size=8), st.sampled_from(["a", "ab", "abcd", "b", "c"]), st.data())
def test_the_index_decides_as_a_scan(rules: list[Rule], name: str, data: st.DataObject) -> None:
    """Also after some rules were removed."""
    kept = acls(*rules)
    for number in range(len(rules)):
        if data.draw(st.booleans()):
            kept.remove(number.to_bytes(16, "big"))
    about = [
        each
        for each in kept.by_id.values()
        if (
            name.startswith(each.name)
            if each.pattern_type == PREFIXED
            else each.name in (name, "*")
        )
    ]
    mine = [
        each.permission
        for each in about
        if each.principal in (ALICE, "User:*") and each.operation in (Operation.READ, Operation.ALL)
    ]
    expected = None if not about else DENY not in mine and ALLOW in mine
    assert read(kept, name) is expected


def test_filters() -> None:
    everything = RuleFilter(1, None, PatternType.ANY, None, None, Operation.ANY, Permission.ANY)
    rules = acls(rule("t"), rule("t", pattern=PREFIXED), rule("*"), rule("tt"))

    def found(wanted: RuleFilter) -> list[int]:
        return [int.from_bytes(id, "big") for id, _ in rules.matching(wanted)]

    assert found(everything) == [0, 1, 2, 3]
    assert found(everything._replace(name="t")) == [0, 1]
    assert found(everything._replace(name="tt", pattern_type=PatternType.MATCH)) == [1, 2, 3]
    assert found(everything._replace(pattern_type=PREFIXED)) == [1]
    assert found(everything._replace(operation=Operation.WRITE)) == []
