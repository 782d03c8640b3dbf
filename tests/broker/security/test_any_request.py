"""Whatever a request says, its rule answers or lets pass, in words of that version (X2, X4)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.broker.authorization.gate import Gate
from flowstream.broker.effects import Reply
from flowstream.broker.events import Request
from flowstream.broker.security.acl import Acls, Rule
from flowstream.broker.security.authorizer import Authorizer
from flowstream.broker.types import ConnectionId, Instant, Principal, ReplyTo, Session
from flowstream.wire.acl_codes import PatternType, Permission
from flowstream.wire.api import request_class, response_class
from flowstream.wire.schema import decode, encode
from tests.broker.machine import Machine
from tests.broker.security.test_table import EVERY
from tests.wire.values import messages

ALICE = Session(Principal("User", "alice"))
CORES = Machine().cores
RULES = st.builds(
    Rule,
    st.sampled_from([2, 3, 4, 5]),
    st.sampled_from(["*", "kafka-cluster"]) | st.text(max_size=2),
    st.sampled_from([PatternType.LITERAL, PatternType.PREFIXED]),
    st.just("User:alice"),
    st.just("*"),
    st.integers(2, 12),
    st.sampled_from([Permission.ALLOW, Permission.DENY]),
)


@given(st.sampled_from(EVERY), st.lists(RULES, max_size=5), st.booleans(), st.data())
@settings(max_examples=600, deadline=None)
def test_X2_X4_any_request(
    which: tuple[int, int], rules: list[Rule], everyone: bool, data: st.DataObject
) -> None:
    key, version = which
    acls = Acls()
    for number, rule in enumerate(rules):
        acls.add(bytes([number]), rule)
    gate = Gate(Authorizer(acls, frozenset(), everyone), CORES)
    asked = data.draw(messages(request_class(key), version))
    view = memoryview(bytearray(encode(asked, version)))
    to = ReplyTo(ConnectionId(1), 7, key, version)
    body = decode(request_class(key), view, version)
    admission = gate.admit(Request(to, "c", "h", body, ALICE), Instant(0))
    if admission.answer is not None:
        encode(admission.answer, version)
        return
    if admission.body is not None:
        encode(admission.body, version)
    answer = data.draw(messages(response_class(key), version))
    (reply,) = gate.complete([Reply(to, answer)])
    assert isinstance(reply, Reply)
    encode(reply.body, version)
