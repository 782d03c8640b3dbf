"""Serializers by name, alone and on topics; schemas."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowstream as fs
from flowstream import codecs
from flowstream.processing.errors import AppError, SettingsError
from flowstream.processing.events.event import Retimed
from flowstream.processing.values.serializers import LARGEST_UNPACKED, typed
from tests.processing.conftest import Kit


class Order(fs.Record):
    """A value."""

    account: str
    amount: float = 1.0


class Reversed(codecs.Codec):
    """JSON, backwards."""

    def _dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()[::-1]

    def _loads(self, data: bytes) -> Any:
        return json.loads(data[::-1])


class Broken(codecs.Codec):
    """Reads nothing."""

    def _loads(self, data: bytes) -> Any:
        raise ZeroDivisionError("broken")


def test_one_codec_after_the_other() -> None:
    chain = codecs.get_codec("json|gzip|base64")
    data = chain.dumps({"a": [1, None, "ü"]})
    assert json.loads(gzip.decompress(base64.b64decode(data))) == {"a": [1, None, "ü"]}
    assert chain.loads(data) == {"a": [1, None, "ü"]}
    assert (codecs.json() | "gzip" | codecs.binary()).dumps({"a": [1, None, "ü"]}) == data
    assert repr(chain) == "Json | Gzip | Base64"
    assert codecs.dumps("raw", "ü") == "ü".encode()
    assert codecs.dumps(None, b"x") == codecs.loads(None, b"x") == b"x"
    assert codecs.loads("json|zlib", codecs.dumps("json|zlib", [1])) == [1]
    assert codecs.raw().clone(codecs.binary()).dumps(b"a") == b"YQ=="


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
                    lambda each: st.lists(each) | st.dictionaries(st.text(), each)))  # fmt: skip
def test_what_is_written_is_read(value: object) -> None:
    for name in ("json", "json|gzip", "json|base64|zlib"):
        assert codecs.loads(name, codecs.dumps(name, value)) == value


def test_codecs_are_registered_by_name() -> None:
    codecs.register("test-reversed", Reversed())
    assert (
        codecs.get_codec("test-reversed|gzip").loads(codecs.dumps("test-reversed|gzip", 12)) == 12
    )
    with pytest.raises(AppError, match=r"no serializer 'msgpack': known are .*base64"):
        codecs.get_codec("json|msgpack")
    with pytest.raises(AppError, match=r"subclass of fs\.Codec"):
        codecs.register("x", json)  # type: ignore[arg-type]
    with pytest.raises(AppError, match=r"without '\|'"):
        codecs.register("a|b", Reversed())
    with pytest.raises(AppError, match="a name or a codec"):
        codecs.get_codec(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["pickle", "json|pickle", "pickle_restricted", "pickle_fickling"])
def test_X6_pickles_are_refused(name: str) -> None:
    with pytest.raises(AppError, match="any code run"):
        codecs.get_codec(name)
    with pytest.raises(AppError, match="is refused"):
        codecs.register("pickle", Reversed())


def test_a_bomb_does_not_unpack() -> None:
    bomb = gzip.compress(b"\0" * (LARGEST_UNPACKED + 1))
    for data in (bomb, bomb[:-9], gzip.compress(b"1") + b"more", b"not packed"):
        with pytest.raises(ValueError, match="unpack"):
            codecs.loads("json|gzip", data)


WRITTEN = b'{"account":"a","amount":1.0}'


@dataclasses.dataclass
class Page:
    """A dataclass."""

    path: str


@pytest.mark.parametrize(
    ("kind", "serializer", "value", "data"),
    [
        (str, "json", "a", b'"a"'),
        (str, "raw", "a", b"a"),
        (bytes, "raw", b"a", b"a"),
        (Any, "raw", b"a", b"a"),
        (Any, "json", {"a": 1}, b'{"a":1}'),
        (int, "json", 3, b"3"),
        (Order, "json", Order(account="a"), WRITTEN),
        (Order, "json|base64", Order(account="a"), base64.b64encode(WRITTEN)),
        (Order, Reversed(), Order(account="a"), b'{"account": "a", "amount": 1.0}'[::-1]),
        (Page, Reversed(), Page("/"), b'{"path": "/"}'[::-1]),
    ],
)  # fmt: skip
def test_a_type_by_a_serializer(kind: Any, serializer: Any, value: Any, data: bytes) -> None:
    codec = typed(kind, serializer)
    assert codec.encode(value) == data
    assert codec.decode(data) == value


def test_raw_without_a_type_takes_text_and_reads_bytes() -> None:
    codec = typed(Any, "raw")
    assert (codec.encode("ü"), codec.decode(b"a")) == ("ü".encode(), b"a")
    with pytest.raises(TypeError, match="expected bytes, got int"):
        codec.encode(1)


def test_what_a_serializer_cannot_do_is_an_error_of_the_value() -> None:
    with pytest.raises(ValueError, match="Broken cannot read it: ZeroDivisionError: broken"):
        typed(int, Broken()).decode(b"1")
    with pytest.raises(ValueError, match="Broken cannot read it"):
        typed(int, codecs.json() | Broken()).decode(b"1")
    with pytest.raises(TypeError, match="expected Order"):
        typed(Order, Reversed()).encode({"account": "a"})
    with pytest.raises(AppError, match="it makes no Order"):
        typed(Order, "raw")


async def test_a_topic_with_serializers_and_one_record_by_another(kit: Kit, name: str) -> None:
    codecs.register("test-reversed", Reversed())
    app = kit.app(name)
    orders = app.topic(
        f"{name}-orders", key_type=str, value_type=Order, partitions=1,
        key_serializer="json", value_serializer="test-reversed|gzip",
    )  # fmt: skip
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    seen: list[Any] = []

    @app.agent(orders, on_error="skip", sink=[out])
    async def see(stream: fs.Stream[Order]) -> Any:
        async for key, order in stream.items():
            seen.append((key, order))
            await out.send(key=key, value="inside", value_serializer="json")
            yield order.account

    await kit.create(app)
    async with kit.running(app):
        await orders.send(key="k", value=Order(account="a"))
        await orders.send(key="k", value=Order(account="lost"), value_serializer="json")
        await app.send(orders, "l", Order(account="b"))
        await see.send(key="m", value=Order(account="c"))
        await app.send(orders, "l", Order(account="lost"), value_serializer="json")
        await see.send(key='"m"', value=Order(account="d"), key_serializer="raw")
        await kit.until(kit.committed(app, orders.name, 6))
    assert seen == [
        (k, Order(account=a)) for k, a in (("k", "a"), ("l", "b"), ("m", "c"), ("m", "d"))
    ]
    first, second, *_, last = await kit.records(orders.name)
    assert first.key == b'"k"'
    assert first.value is not None
    assert gzip.decompress(first.value) == b'{"account": "a", "amount": 1.0}'[::-1]
    assert last.key == b'"m"'
    assert second.value == b'{"account":"lost","amount":1.0}'
    assert [r.value for r in await kit.records(out.name)][:2] == [b'"inside"', b"a"]


def test_the_apps_serializers_are_for_topics_that_say_nothing(tmp_path: Any) -> None:
    app = fs.App("coded", key_serializer="json", value_serializer="raw", data_dir=tmp_path)
    plain = app.topic("plain")
    assert (plain.encode_key("k"), plain.encode_value(b"v")) == (b'"k"', b"v")
    assert plain.value_codec.decode(b"v") == b"v"
    typed_topic = app.topic("typed", key_type=str, value_type=Order)
    assert typed_topic.encode_key("k") == b"k"
    assert typed_topic.encode_value(Order(account="a")) == b'{"account":"a","amount":1.0}'
    own = app.topic("own", value_serializer="json")
    assert own.encode_value("v") == b'"v"'
    with pytest.raises(AppError, match="no serializer 'avro'"):
        fs.App("other", value_serializer="avro").topic("t")
    with pytest.raises(SettingsError, match="a text is expected"):
        fs.App("other", value_serializer=3)  # type: ignore[arg-type]


def test_a_schema_is_the_types_of_a_topic() -> None:
    app = fs.App("schemas")
    schema = fs.Schema(key_type=str, value_type=Order, value_serializer="json|base64")
    topic = app.topic("orders", schema=schema)
    data, headers = schema.dumps_value(app, Order(account="a"), headers=(("h", b"1"),))
    assert headers == (("h", b"1"),)
    assert topic.encode_value(Order(account="a")) == data
    assert schema.dumps_key(app, "k") == (b"k", ())
    assert schema.dumps_key(app, None) == schema.dumps_value(app, None) == (None, ())
    record = Retimed("orders", 0, 7, 1_500, b"k", data, ())
    assert schema.loads_key(app, record) == "k"
    assert schema.loads_value(app, record) == Order(account="a")
    empty = dataclasses.replace(record, key=None, value=None)
    assert schema.loads_key(app, empty) is None
    with pytest.raises(ValueError, match="allow_empty=True"):
        schema.loads_value(app, empty)
    schema.update(allow_empty=True, value_serializer="json")
    assert schema.loads_value(app, empty) is None
    assert app.topic("empty", schema=schema).value_codec.nullable
    assert not topic.value_codec.nullable
    assert topic.derive(value_serializer="json").encode_value(Order(account="a")) != data
    with pytest.raises(AppError, match=r"write a fs\.Codec instead"):

        class Avro(fs.Schema):
            def loads_value(self, app: Any, message: Any) -> Any:
                return None


async def test_a_schema_decodes_an_event() -> None:
    schema = fs.Schema(key_type=str, value_type=int)
    record = Retimed("numbers", 1, 7, 1_500, b"k", b"3", ())
    assert await schema.decode(None, record) == fs.Event("k", 3, (), 1.5, "numbers", 1, 7)


def test_how_long_a_topic_keeps_its_records() -> None:
    app = fs.App("kept")
    assert app.topic("a", retention=60.0).config == {"retention.ms": "60000"}
    assert app.topic("b", compacting=True).config == {"cleanup.policy": "compact"}
    assert app.topic("c", compacting=True, deleting=True, config={"x": "y"}).config == {
        "cleanup.policy": "compact,delete", "x": "y",
    }  # fmt: skip
    assert app.topic("d", compacting=False, deleting=True).config == {"cleanup.policy": "delete"}
    empty = app.topic("e", value_type=int, allow_empty=True)
    assert empty.value_codec.nullable
    assert empty.derive(name="d").value_codec.nullable
    assert not empty.derive(value_type=str).value_codec.nullable
    # Without a type None is a value, too.
    assert app.topic("any").value_codec.nullable
    assert app.topic("raw", value_serializer="raw").value_codec.nullable
    assert not app.topic("not", allow_empty=False).value_codec.nullable
    with pytest.raises(AppError, match="compacting=True, deleting=True, or both"):
        app.topic("f", deleting=False)
    with pytest.raises(AppError, match="retention must be at least one millisecond"):
        app.topic("g", retention=-1)


def test_a_topic_derived_from_another() -> None:
    app = fs.App("derived")
    topic = app.topic("a", key_type=str, value_type=Order, partitions=3, config={"x": "y"})
    other = topic.derive(name="b", value_type=int)
    assert (other.name, other.partitions, other.config) == ("b", 3, {"x": "y"})
    assert (other.encode_key("k"), other.encode_value(3)) == (b"k", b"3")
    assert app.topics == {"a": topic, "b": other}
    with pytest.raises(AppError, match="topic 'b' is declared with 3 and 2 partitions"):
        app.topic("b", partitions=2)
    with pytest.raises(AppError, match="takes name, key_type, value_type"):
        topic.derive(pattern="x")
