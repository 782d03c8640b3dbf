"""Every API and version has a rule, and the rule holds for nobody, for the wrong one and for the
right one (X2, X7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowstream.broker.authorization.admission import PASS, Admission
from flowstream.broker.authorization.gate import Gate
from flowstream.broker.authorization.table import TABLE
from flowstream.broker.events import Request
from flowstream.broker.handlers import ROUTES
from flowstream.broker.metadata.image import Topic
from flowstream.broker.security.acl import Acls, Rule
from flowstream.broker.security.authorizer import Authorizer
from flowstream.broker.types import ANONYMOUS, ConnectionId, Instant, Principal, ReplyTo, Session
from flowstream.wire.acl_codes import PatternType, Permission
from flowstream.wire.api import API, response_class
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.fields import layout_of
from flowstream.wire.messages.list_groups import ListedGroup, ListGroupsResponse
from flowstream.wire.messages.list_transactions import (
    ListTransactionsResponse,
    TransactionState,
)
from flowstream.wire.messages.offset_fetch import OffsetFetchResponseGroup
from flowstream.wire.schema import decode, encode
from tests.broker.machine import Machine
from tests.broker.security.asked import ASKED, TOPIC_ID, Grant

RIGHT, WRONG = Principal("User", "right"), Principal("User", "wrong")
NOW = Instant(1_000)
EVERY = [
    (key, version)
    for key, api in API.items()
    for version in range(api.min_version, api.max_version + 1)
]


def cores_with_a_topic() -> Any:
    cores = Machine().cores
    topic = Topic("t", TOPIC_ID)
    cores.image.topics["t"] = cores.image.topics_by_id[TOPIC_ID] = topic
    return cores


CORES = cores_with_a_topic()


def rules(grants: tuple[Grant, ...], principal: Principal) -> Acls:
    acls = Acls()
    for number, (type, name, operation) in enumerate(grants):
        rule = Rule(
            type,
            name,
            PatternType.LITERAL,
            str(principal),
            "*",
            operation,
            Permission.ALLOW,
        )
        acls.add(number.to_bytes(16, "big"), rule)
    return acls


def admit(
    key: int, version: int, grants: tuple[Grant, ...], who: Principal, supers: tuple[str, ...] = ()
) -> Admission:
    """What a gate says to `who`, through the bytes of the request."""
    body = ASKED[key].body(version)
    view = memoryview(bytearray(encode(body, version)))
    to = ReplyTo(ConnectionId(1), 1, key, version)
    request = Request(to, "c", "127.0.0.1", decode(type(body), view, version), Session(who))
    authorizer = Authorizer(rules(grants, RIGHT), frozenset(supers))
    return Gate(authorizer, CORES).admit(request, NOW)


def errors(value: object) -> Iterator[int]:
    """Every error code in an answer."""
    if isinstance(value, tuple):
        for each in value:
            yield from errors(each)
    elif hasattr(type(value), "__slots__") and not isinstance(value, int | str | bytes):
        for field in layout_of(type(value)).fields:
            found = getattr(value, field.name)
            if field.name.endswith("error_code"):
                yield found
            else:
                yield from errors(found)


def told(key: int, version: int, admission: Admission) -> set[int]:
    """The errors that the client sees, through the bytes of the answer."""
    answer = admission.answer
    if admission.allows is not None and answer is None:
        # The handler asks, and answers what it is told no of: test_later shows it.
        assert not admission.allows("t"), "the request was let through"
        return {ErrorCode.TOPIC_AUTHORIZATION_FAILED}
    if answer is None and admission.amend is not None:
        answered = {"groups": (OffsetFetchResponseGroup(group_id="g"),)} if key == 9 else {}
        answer = admission.amend(response_class(key)(**answered))
    assert answer is not None, "the request was let through"
    view = encode(answer, version)
    return set(errors(decode(response_class(key), view, version))) - {0}


def test_X2_the_table_is_complete() -> None:
    assert set(TABLE) == set(API) == set(ASKED)
    for key, api in API.items():
        assert (TABLE[key].first, TABLE[key].last) >= (api.min_version, api.max_version)
        assert TABLE[key].first <= api.min_version
    for key, route in ROUTES.items():
        assert TABLE[key].last >= route.newest, f"API {key} is served but has no rule"


@pytest.mark.parametrize(("key", "version"), EVERY)
def test_X2_nobody_and_the_wrong_one_are_refused(key: int, version: int) -> None:
    asked = ASKED[key]
    for who in (ANONYMOUS, WRONG):
        admission = admit(key, version, asked.grants(version), who)
        if asked.errors:
            seen = told(key, version, admission)
            assert seen or not has_errors(key, version)
            assert seen <= set(asked.errors) | {55}, seen
        elif not asked.grants(version):
            assert admission == PASS or admission.amend is not None
        else:
            assert shown(key, admission) == ()


def has_errors(key: int, version: int) -> bool:
    """DescribeLogDirs has none before 3, ElectLeaders none before 1 but in its partitions."""
    return not (key == 35 and version < 3)


@pytest.mark.parametrize(("key", "version"), EVERY)
def test_X2_the_right_one_is_let_through(key: int, version: int) -> None:
    asked = ASKED[key]
    grants = asked.grants(version)
    for admission in (
        admit(key, version, grants, RIGHT),
        admit(key, version, (), RIGHT, ("User:right",)),
    ):
        assert admission.answer is None
        assert admission.allows is None or admission.allows("t")
        assert admission.body is None or key in (1, 9), "nothing is taken out"
        assert not admission.close
    if not asked.errors and grants:
        assert len(shown(key, admit(key, version, grants, RIGHT))) == 1


@pytest.mark.parametrize(("key", "version"), EVERY)
def test_X2_every_permission_is_needed(key: int, version: int) -> None:
    asked = ASKED[key]
    grants = asked.grants(version)
    for missing in grants if len(grants) > 1 else ():
        rest = tuple(each for each in grants if each != missing)
        seen = told(key, version, admit(key, version, rest, RIGHT))
        assert seen <= set(asked.errors) | {55}
        assert seen


def shown(key: int, admission: Admission) -> tuple[Any, ...]:
    """What is left of an answer about `g` and `x`."""
    answers: dict[int, Any] = {
        16: ListGroupsResponse(groups=(ListedGroup(group_id="g"),)),
        66: ListTransactionsResponse(transaction_states=(TransactionState(transactional_id="x"),)),
    }
    answer = answers[key]
    if admission.amend is not None:
        answer = admission.amend(answer)
    return answer.groups if key == 16 else answer.transaction_states


def test_X7_an_api_or_version_without_a_rule_is_refused() -> None:
    gate = Gate(Authorizer(Acls(), frozenset({"User:right"})), CORES)
    for key, version in ((0, 14), (3, -1), (71, 0), (999, 0)):
        to = ReplyTo(ConnectionId(1), 1, key, version)
        request: Request[Any] = Request(to, "c", "127.0.0.1", None, Session(RIGHT))
        assert gate.admit(request, NOW).close


def test_X1_X7_a_login_that_has_not_come_or_has_ended_admits_nothing() -> None:
    gate = Gate(Authorizer(Acls(), frozenset({"User:right"})), CORES)
    to = ReplyTo(ConnectionId(1), 1, 3, 12)
    body = ASKED[3].body(12)
    for session in (
        Session(ANONYMOUS, "L", "SASL_SSL"),
        Session(RIGHT, "L", "SASL_SSL", Instant(NOW), "PLAIN"),
    ):
        assert gate.admit(Request(to, "c", "127.0.0.1", body, session), NOW).close
    still = Session(RIGHT, "L", "SASL_SSL", Instant(NOW + 1), "PLAIN")
    assert not gate.admit(Request(to, "c", "127.0.0.1", body, still), NOW).close
