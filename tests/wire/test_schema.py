"""What a declaration promises, on messages of its own: defaults, versions, tags, nulls, errors."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.errors import WireError
from flowstream.wire.encoder import Parts
from flowstream.wire.messages.alter_user_scram_credentials import ScramCredentialUpsertion
from flowstream.wire.messages.sasl_authenticate import SaslAuthenticateRequest
from flowstream.wire.schema import (
    BOOLEAN,
    BYTES,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    RECORDS,
    STRING,
    UINT16,
    UINT32,
    UUID,
    ZERO_UUID,
    array,
    compiled,
    decode,
    encode,
    field,
    message,
    replace,
    struct,
    unknown_tags,
)
from tests.wire.values import messages


@struct
class Inner:
    """A part."""

    number: int = field(INT32, "0+")
    name: str = field(STRING, "0+", default="inner")


@message(versions="0-3", flexible="2+")
class Everything:
    """One of each."""

    flag: bool = field(BOOLEAN, "0+", default=True)
    tiny: int = field(INT8, "0+")
    small: int = field(INT16, "0+")
    port: int = field(UINT16, "0+")
    mask: int = field(UINT32, "0+")
    large: int = field(INT64, "0+", default=-1)
    ratio: float = field(FLOAT64, "0+")
    id: bytes = field(UUID, "0+")
    text: str = field(STRING, "0+")
    maybe: str | None = field(STRING, "0+", nullable="1+", default="x")
    blob: bytes | None = field(BYTES, "0+", nullable="0+", default=None)
    data: bytes | bytearray | memoryview | None = field(RECORDS, "0+", nullable="0+")
    inner: Inner = field(Inner, "0+")
    perhaps: Inner | None = field(Inner, "0+", nullable="0+", default=None)
    many: tuple[Inner, ...] = field(array(Inner), "0+")
    numbers: tuple[int, ...] | None = field(array(INT32), "0+", nullable="1+")
    ids: tuple[bytes, ...] = field(array(UUID), "0+")
    grid: tuple[tuple[str, ...], ...] = field(array(array(STRING)), "0+")
    strict: int = field(INT32, "1+", default=7)
    loose: int = field(INT32, "1-2", default=7, ignorable=True)
    tagged: int = field(INT32, "2+", tag=0, tagged="2+")
    tagged_inner: Inner = field(Inner, "2+", tag=3, tagged="2+")
    tagged_many: tuple[str, ...] | None = field(
        array(STRING), "2+", nullable="2+", default=None, tag=130, tagged="2+"
    )


@message(versions="0-1", flexible="1+")
class Small:
    """A short one."""

    number: int = field(INT32, "0+")
    later: int = field(INT32, "2+")


def test_defaults_are_the_declared_ones() -> None:
    value = Everything()
    assert (value.flag, value.large, value.id, value.maybe) == (True, -1, ZERO_UUID, "x")
    assert (value.inner, value.perhaps, value.numbers) == (Inner(), None, ())
    assert value.inner.name == "inner"


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_every_type_round_trips(version: int) -> None:
    from hypothesis import given, settings

    @settings(max_examples=80, deadline=None, derandomize=True, database=None)
    @given(messages(Everything, version))
    def check(value: Any) -> None:
        raw = encode(value, version)
        again = decode(Everything, raw, version)
        assert again == value
        assert encode(again, version) == raw

    check()


def test_messages_are_values() -> None:
    one, other = Inner(number=1), Inner(number=1)
    assert one == other
    assert hash(one) == hash(other)
    assert one != Inner(number=2)
    assert one != (1, "inner")
    assert repr(one) == "Inner(number=1, name='inner')"
    assert not hasattr(one, "__dict__")
    with pytest.raises(TypeError):
        Inner(1)  # type: ignore[misc]
    with pytest.raises(TypeError):
        Inner(nummer=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        one.nummer = 1  # type: ignore[attr-defined]


def test_X5_secrets_are_not_in_the_repr() -> None:
    assert "hunter2" not in repr(SaslAuthenticateRequest(auth_bytes=b"hunter2"))
    assert "hunter2" not in repr(ScramCredentialUpsertion(salted_password=b"hunter2"))


def test_replace_makes_a_changed_copy() -> None:
    value = Inner(number=1)
    assert replace(value, name="b") == Inner(number=1, name="b")
    assert value.name == "inner"
    with pytest.raises(WireError):
        replace(value, nummer=2)


def test_a_field_the_version_lacks_must_be_default_unless_ignorable() -> None:
    with pytest.raises(WireError, match="strict"):
        encode(Everything(strict=8), 0)
    assert decode(Everything, encode(Everything(loose=8), 0), 0).loose == 7
    with pytest.raises(WireError, match="tagged"):
        encode(Everything(tagged=1), 1)
    assert decode(Everything, encode(Everything(tagged=1), 2), 2).tagged == 1


def test_null_where_the_version_has_none_is_refused_both_ways() -> None:
    with pytest.raises(WireError):
        encode(Everything(maybe=None), 0)
    with pytest.raises(WireError):
        encode(Everything(numbers=None), 0)
    with pytest.raises(WireError):
        encode(Everything(text=None), 3)  # type: ignore[arg-type]
    null = encode(Everything(maybe=None), 1)
    assert decode(Everything, null, 1).maybe is None
    with pytest.raises(WireError, match="maybe"):
        decode(Everything, null[:-8], 0)  # the two fields that version 1 adds are at the end


@pytest.mark.parametrize(
    "wrong",
    [
        {"tiny": 128},
        {"small": -(1 << 15) - 1},
        {"port": -1},
        {"mask": 1 << 32},
        {"large": 1 << 63},
        {"tiny": 1.5},
        {"id": b"short"},
        {"id": "x" * 16},
        {"ids": (bytes(15),)},
        {"text": b"bytes"},
        {"text": "\ud800"},
        {"text": "x" * 0x8000},
        {"blob": 5},
        {"inner": None},
        {"many": (None,)},
        {"many": 5},
        {"numbers": ("x",)},
        {"numbers": (1 << 31,)},
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_values_that_do_not_fit_are_wire_errors(wrong: dict[str, Any], version: int) -> None:
    with pytest.raises(WireError):
        encode(Everything(**wrong), version)


def test_unknown_tags_are_kept_and_sent_on() -> None:
    raw = bytes.fromhex("00000005") + b"\2\1\1x\xac\2\2yz"
    value = decode(Small, raw, 1)
    assert unknown_tags(value) == ((1, b"x"), (300, b"yz"))
    assert "unknown_tags" in repr(value)
    assert encode(value, 1) == raw
    assert encode(replace(value, number=6), 1) == bytes.fromhex("00000006") + raw[4:]


def test_unknown_tags_stand_among_known_ones_in_order() -> None:
    plain = encode(Everything(), 2)
    sections = b"\3\0\4\0\0\0\1\2\1u\3\7\0\0\0\5\2i\0"
    raw = plain[:-1] + sections
    value = decode(Everything, raw, 2)
    assert (value.tagged, value.tagged_inner) == (1, Inner(number=5, name="i"))
    assert unknown_tags(value) == ((2, b"u"),)
    assert encode(value, 2) == raw


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"\1",
        b"\1\0",
        b"\1\0\4\0\0\0",  # reaches beyond the end
        b"\1\0\5\0\0\0\1\0",  # longer than the value
        b"\1\0\3\0\0\0\1",  # shorter than the value
        b"\2\2\0\2\0",  # twice
        b"\2\2\0\1\0",  # out of order
        b"\xff\xff\xff\xff\xff\1",
        b"\0\0",  # left over
    ],
)
def test_bad_tag_sections_are_refused(section: bytes) -> None:
    plain = encode(Everything(), 2)
    with pytest.raises(WireError):
        decode(Everything, plain[:-1] + section, 2)


def test_bytes_left_over_or_missing_are_refused() -> None:
    raw = encode(Everything(text="abc", many=(Inner(),)), 3)
    for cut in range(len(raw)):
        with pytest.raises(WireError):
            decode(Everything, raw[:cut], 3)
    with pytest.raises(WireError, match="1 bytes left over"):
        decode(Everything, raw + b"\0", 3)


def test_versions_outside_the_declaration_are_refused() -> None:
    for version in (-1, 4):
        with pytest.raises(WireError):
            encode(Everything(), version)
        with pytest.raises(WireError):
            decode(Everything, b"", version)


def test_records_are_neither_copied_in_nor_out() -> None:
    data = bytes(5000)
    parts: Parts = []
    codec = compiled(Everything, 3)
    codec.encode_into(parts, Everything(data=data))
    assert any(part is data for part in parts)
    whole = bytearray(b"".join(parts))
    value, end = codec.decode_from(memoryview(whole), 0)
    assert end == len(whole)
    assert isinstance(value.data, memoryview)
    assert value.data.obj is whole


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_buffer_is_read(make: Any) -> None:
    raw = encode(Small(number=9), 1)
    assert decode(Small, make(raw), 1).number == 9
