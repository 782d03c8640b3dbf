"""Small deciding parts: placement, dead letters, commit order, when an epoch closes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowstream as fs
from flowstream.processing.commit import ORDER, Step
from flowstream.processing.events.dead_letters import dead_letters, is_cut
from flowstream.processing.units.epoch import DIRTY_KEYS, OUTPUT_BYTES, Epoch, should_close
from flowstream.processing.units.outputs import OutputTopic, batch_bytes
from flowstream.wire.hashing import partition_for_key


@given(st.binary(max_size=20), st.integers(1, 50))
def test_keys_go_where_java_puts_them(key: bytes, partitions: int) -> None:
    topic = OutputTopic("t", partitions)
    assert topic.place(key) == ("t", partition_for_key(key, partitions))
    assert topic.place(key) == topic.place(key)


def test_records_without_a_key_take_turns() -> None:
    topic = OutputTopic("t", 3)
    assert sorted(topic.place(None).partition for _ in range(3)) == [0, 1, 2]
    with pytest.raises(fs.AppError, match="partitions 0 to 2, not 3"):
        topic.at(3)


def test_a_dead_letter_keeps_its_own_headers_and_replaces_older_reasons() -> None:
    record = SimpleNamespace(
        topic="t", partition=1, offset=0, timestamp=5, key=b"k", value=b"v",
        headers=[("own", b"1"), ("flowstream.cause", b"old")],
    )  # fmt: skip
    key, value, headers = next(dead_letters(record, ValueError("new"), app="a", agent="g"))
    assert (key, value, headers[0]) == (b"k", b"v", ("own", b"1"))
    told = dict(headers)
    assert (told["flowstream.cause"], told["flowstream.offset"]) == (b"new", b"0")
    assert len([name for name, _ in headers if name == "flowstream.cause"]) == 1


def test_S11_a_dead_letter_has_ever_shorter_forms_that_say_what_they_lack() -> None:
    record = SimpleNamespace(
        topic="t", partition=1, offset=0, timestamp=5, key=b"k" * 50, value=b"v" * 100_000,
        headers=[("own", b"1" * 10_000)],
    )  # fmt: skip
    forms = list(dead_letters(record, ValueError("x" * 50_000), app="a", agent="g"))
    sizes = [batch_bytes(*form) for form in forms]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[1] > 5_000
    assert sizes[-1] < 2_000
    told = [
        {name.removeprefix("flowstream."): (text or b"").decode() for name, text in form.headers}
        for form in forms
    ]
    # Without the traceback, and all that its error says, it is still the record.
    assert [is_cut(each) for each in told] == [False, False, True, True, True]
    assert (forms[1].key, forms[1].value) == (record.key, record.value)
    assert told[-1]["left-out"] == (
        "the traceback, the value (100000 bytes), the headers (1), the key (50 bytes)"
    )
    assert {each["offset"] for each in told} == {"0"}


def test_the_commit_order() -> None:
    order = ORDER["exactly_once"]
    assert [step.value for step in order] == [
        "close", "begin", "produce", "offsets", "end", "store", "done",
    ]  # fmt: skip
    # S1: the store moves after the decision, whatever the guarantee.
    for steps in ORDER.values():
        assert steps.index(Step.STORE) == len(steps) - 2
        assert steps.index(Step.PRODUCE) < steps.index(Step.OFFSETS)


@pytest.mark.parametrize(
    ("age", "dirty", "size", "closes"),
    [(0.0, 0, 0, False), (0.1, 0, 0, True), (0.0, DIRTY_KEYS, 0, True), (0, 0, OUTPUT_BYTES, True)],
)
def test_an_epoch_closes_on_age_or_size(age: float, dirty: int, size: int, closes: bool) -> None:
    assert should_close(age_s=age, interval_s=0.1, dirty_keys=dirty, output_bytes=size) is closes


def test_an_empty_epoch_says_so() -> None:
    assert Epoch(number=1, offsets={}, outputs=0).is_empty
    assert not Epoch(number=1, offsets={("t", 0): 0}, outputs=0).is_empty
