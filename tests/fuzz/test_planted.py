"""The campaign finds what is planted: one weakness for each thing that it looks for (X3, X4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from flowstream.broker import lifecycle
from flowstream.broker.fetch_sessions import FetchSessions
from flowstream.broker.handlers import metadata
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.metadata import alterations
from flowstream.broker.server import connection
from flowstream.broker.server.connection import Connection
from flowstream.broker.waiting import Waiting
from flowstream.errors import WireError
from flowstream.wire.fields import layout_of
from tests.fuzz import campaign, decoding, sockets, watch
from tests.fuzz.campaign import LEAK_BYTES, LEAK_CHUNKS, TRACED_EVERY, Leaks, Result, Task, run

SEEDS = range(1, 40)


def found(level: str, inputs: int = 200, seeds: range = SEEDS) -> str:
    """The first failure of a level. It tells how it is repeated, and that repeats it."""
    for seed in seeds:
        failure = run(Task(level, seed, inputs)).failure
        if failure is None:
            continue
        number = int(failure.split(",")[0].removeprefix("input "))
        assert f"--level {level} --seed {seed} --inputs {number + 1}\n" in failure
        again = run(Task(level, seed, number + 1)).failure
        assert again is not None
        if level in ("wire", "node", "guarded"):
            assert again.splitlines()[0] == failure.splitlines()[0]
        return failure
    raise AssertionError("nothing found")


Plant = Callable[..., None]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Put a weakness in place of what is sound, for one test."""
    return monkeypatch.setattr


def after_decoding(plant: Plant, weakness: Callable[[Any], object]) -> None:
    decode = decoding.decode

    def weak(cls: type[Any], raw: bytes, version: int) -> Any:
        value = decode(cls, raw, version)
        weakness(value)
        return value

    plant(decoding, "decode", weak)


def test_X4_another_exception_than_WireError_is_found(plant: Plant) -> None:
    after_decoding(plant, lambda _: {}["planted"])
    assert "KeyError" in found("wire")


def test_X4_what_cannot_be_encoded_again_is_found(plant: Plant) -> None:
    def lengthen(value: Any) -> None:
        for each in layout_of(type(value)).fields:
            if each.type.name == "string":
                setattr(value, each.name, "x" * 40_000)

    after_decoding(plant, lengthen)
    assert "what was decoded cannot be encoded" in found("wire")


def test_X3_memory_is_found(plant: Plant) -> None:
    after_decoding(plant, lambda _: b"x" * (64 << 20))
    assert "of resident memory" in found("wire")


def test_X3_a_little_memory_is_found_where_it_is_traced(plant: Plant) -> None:
    after_decoding(plant, lambda _: b"x" * (3 << 20))
    assert "of traced memory" in found("wire", seeds=range(TRACED_EVERY, TRACED_EVERY + 1))


def test_X4_a_stall_is_found(plant: Plant) -> None:
    def turn(value: Any) -> None:
        while True:
            pass

    plant(watch, "STALL_S", 0.05)
    after_decoding(plant, turn)
    assert "s of CPU time" in found("wire")


def test_X4_an_answer_that_its_version_cannot_carry_is_found(plant: Plant) -> None:
    plant(metadata, "by_id_too_early", lambda *_: False)
    assert "cannot carry MetadataResponse" in found("node", 1000)


def test_X4_a_number_with_too_many_digits_is_found(plant: Plant) -> None:
    plant(alterations, "node_id", lambda name: int(name) if name.isdecimal() else None)
    assert "Exceeds the limit" in found("node", 3000)


def test_X4_a_decision_that_blames_nobodys_bytes_is_found(plant: Plant) -> None:
    def advance(self: PartitionLog, offset: int) -> None:
        raise WireError("planted")

    def soon(*_: Any) -> None:
        plant(PartitionLog, "advance", advance)

    # The node must have begun.
    populate = campaign.LEVELS["node"].run

    def begun(seed: int, count: int, seen: watch.Watch) -> Counter[str]:
        soon()
        return populate(seed, count, seen)

    plant(campaign, "LEVELS", {"node": campaign.LEVELS["node"]._replace(run=begun)})
    assert "WireError: planted" in found("node")


def test_X4_a_refusal_that_leaves_something_behind_is_found(plant: Plant) -> None:
    def refuse(*_: Any) -> None:
        raise WireError("planted")

    plant(metadata, "_response", refuse)
    assert "refused as malformed, but logs have grown" in found("node", 1000)


def test_X3_a_parked_request_of_one_who_left_is_found(plant: Plant) -> None:
    plant(Waiting, "disconnected", lambda *_: None)
    assert "requests parked when everyone was gone" in found("node", 300)


def test_X3_a_fetch_session_that_is_not_let_go_is_found(plant: Plant) -> None:
    plant(FetchSessions, "_unwatch", lambda *_: None)
    assert "watchers" in found("node", 400)


def test_D5_a_restart_that_forgets_is_found(plant: Plant) -> None:
    plant(lifecycle, "load_transactions", lambda *_: None)
    assert "after a restart" in found("node", 1000)


def test_X4_a_server_that_dies_is_found(plant: Plant) -> None:
    def die(*_: Any) -> None:
        raise KeyError("planted")

    plant(metadata, "_answer", die)
    assert "the broker failed" in found("socket")


def test_X4_a_connection_that_outlives_its_peer_is_found(plant: Plant) -> None:
    close = Connection.close

    def stay(self: Connection, reason: str) -> None:
        if reason != "closed by its peer":
            close(self, reason)

    plant(sockets, "ANSWER_S", 0.2)
    plant(Connection, "close", stay)
    assert "not closed at its peer's end" in found("socket")


def test_X1_what_is_parsed_before_a_login_is_found(plant: Plant) -> None:
    plant(connection, "BEFORE_LOGIN", tuple(range(100)))
    assert "was parsed before a login" in found("secured", 100)


def test_X1_X3_a_large_buffer_before_a_login_is_found(plant: Plant) -> None:
    plant(connection, "LOGIN_FRAME_BYTES", 1 << 20)
    plant(connection, "REST_BYTES", 1 << 17)
    assert "bytes of buffer before a login" in found("secured", 100)


def test_X3_a_process_that_grows_is_found() -> None:
    for step, grows in ((0, 0), (4 * LEAK_BYTES // LEAK_CHUNKS, 1)):
        leaks = Leaks()
        for number in range(LEAK_CHUNKS):
            leaks.add(Result(Task("wire", number, 1), Counter(), None, 1, step * number))
        assert len(leaks.found()) == grows
