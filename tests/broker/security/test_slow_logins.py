"""The proof of a PLAIN login takes long on purpose: nobody else waits for it (X4)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from flowstream.broker.effects import Compute
from flowstream.broker.events import Disconnected
from flowstream.broker.security.scram import MAX_ITERATIONS, Mechanism, salted
from flowstream.broker.types import ANONYMOUS, ConnectionId, Session
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.alter_user_scram_credentials import (
    AlterUserScramCredentialsRequest,
    ScramCredentialUpsertion,
)
from flowstream.wire.messages.metadata import MetadataRequest
from flowstream.wire.messages.sasl_authenticate import SaslAuthenticateRequest
from flowstream.wire.messages.sasl_handshake import SaslHandshakeRequest
from tests.broker.machine import Machine

STRANGER = Session(listener="SASL_PLAINTEXT", protocol="SASL_PLAINTEXT")


@pytest.fixture
def machine() -> Machine:
    """User `alice` with the password `right`."""
    made = Machine(
        listeners="SASL_PLAINTEXT://127.0.0.1:9092",
        sasl_enabled_mechanisms="PLAIN",
        super_users=str(ANONYMOUS),
    )
    salt = random.Random(1).randbytes(16)
    wanted = ScramCredentialUpsertion(
        name="alice",
        mechanism=Mechanism.SCRAM_SHA_256,
        iterations=MAX_ITERATIONS,
        salt=salt,
        salted_password=salted(Mechanism.SCRAM_SHA_256, "right", salt, MAX_ITERATIONS),
    )
    body = AlterUserScramCredentialsRequest(deletions=(), upsertions=(wanted,))
    assert made.ask(body, 0).results[0].error_code == 0
    return made


def begin(machine: Machine, connection: int, password: str) -> int:
    """A client logs in, up to where its password would be checked."""
    machine.session, machine.connection = STRANGER, ConnectionId(connection)
    shaken = machine.post(SaslHandshakeRequest(mechanism="PLAIN"), 1)
    assert machine.answer(shaken).error_code == 0
    message = f"\0alice\0{password}".encode()
    asked = machine.post(SaslAuthenticateRequest(auth_bytes=message), 2)
    machine.session, machine.connection = Session(), ConnectionId(1)
    return asked


def test_X4_a_storm_of_logins_holds_up_nobody(machine: Machine) -> None:
    storm = [begin(machine, 10 + number, "right") for number in range(100)]
    assert len(machine.computing) == 100
    asked = machine.post(MetadataRequest(topics=None), 12)
    assert list(machine.replies) == [asked], "the others are answered, the logins are not yet"
    machine.answer(asked)
    machine.settle()
    assert {machine.answer(each).error_code for each in storm} == {0}
    assert not machine.cores.waiting.computing


def test_X7_a_proof_decides_and_a_failure_still_waits(machine: Machine) -> None:
    right, wrong = begin(machine, 2, "right"), begin(machine, 3, "wrong")
    machine.settle()
    assert machine.answer(right).error_code == 0
    assert wrong not in machine.replies, "guessing is slow"
    machine.wait(100)
    answer: Any = machine.answer(wrong)
    assert answer.error_code == ErrorCode.SASL_AUTHENTICATION_FAILED
    assert machine.closed == ["a login failed: wrong user or password for PLAIN"]


def test_X3_nothing_is_kept_of_a_login_whose_connection_is_gone(machine: Machine) -> None:
    gone = begin(machine, 2, "right")
    machine.carry_out(machine.node.handle(Disconnected(ConnectionId(2)), machine.now))
    assert not machine.cores.waiting.computing
    machine.settle()
    assert gone not in machine.replies


def test_X5_what_is_computed_shows_no_password() -> None:
    effect = Compute(
        ConnectionId(1),
        lambda: salted(Mechanism.SCRAM_SHA_256, "pass", b"", 1),
        lambda result, now: [],
    )
    assert "work" not in repr(effect)


def test_nobody_logs_in_on_a_listener_without_logins(machine: Machine) -> None:
    """It is told so and keeps its connection, as in Kafka."""
    message = SaslAuthenticateRequest(auth_bytes=b"\0alice\0right")
    assert machine.ask(message, 2).error_code == ErrorCode.ILLEGAL_SASL_STATE
    assert not machine.closed
