"""Traces by OpenTelemetry: from the producer through agents to the last output."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

import flowstream as fs
from flowstream.processing.running.instance import Instance
from flowstream.processing.running.kinds import instance_kind
from flowstream.processing.running.plan import Reader, Stage
from flowstream.processing.units.outputs import batch_bytes
from flowstream.processing.watching.spans import carrying
from tests.processing.conftest import Kit

Spans = Callable[[str], list[ReadableSpan]]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """The finished spans of a name, in the order in which they ended."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return lambda name: [each for each in exporter.get_finished_spans() if each.name == name]


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Trace and span."""
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def parent(span: ReadableSpan) -> tuple[int, int]:
    """Trace and span of the parent."""
    assert span.parent is not None
    return span.parent.trace_id, span.parent.span_id


def carried(headers: object) -> tuple[int, int]:
    """Trace and span that a record carries."""
    found = dict(headers)["traceparent"]  # type: ignore[call-overload]
    _, trace_id, span_id, _ = found.decode().split("-")
    return int(trace_id, 16), int(span_id, 16)


async def test_one_trace_from_producer_to_output(kit: Kit, name: str, spans: Spans) -> None:
    app = kit.app(name)
    lines = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    tracer = trace.get_tracer("test")

    @app.agent(lines, sink=[out])
    async def shout(stream: fs.Stream[str]):  # type: ignore[no-untyped-def]
        async for word in stream.group_by(lambda word: word, name="word"):
            with tracer.start_as_current_span("inside"):
                await out.send(key="sent", value=word, headers={"mine": b"1"})
            yield word.upper()

    await kit.create(app)
    async with kit.running(app):
        await lines.send(key="k", value="hello")
        await kit.until(kit.count(f"{name}-out", 2))
    (sent,) = spans(f"send {name}-in")
    (forward,) = spans(f"process {name}-in")
    (whole,) = spans(f"process {name}-word-repartition")
    (inside,) = spans("inside")
    assert sent.kind == SpanKind.PRODUCER
    assert forward.kind == whole.kind == SpanKind.CONSUMER
    assert parent(forward) == ids(sent)
    assert parent(whole) == ids(forward)
    assert parent(inside) == ids(whole)
    records = await kit.records(f"{name}-out")
    assert {carried(record.headers) for record in records} == {ids(whole)}
    assert dict(records[0].headers)["mine"] == b"1"
    assert whole.attributes is not None
    assert whole.attributes["flowstream.agent"] == "shout"
    assert whole.attributes["messaging.consumer.group.name"] == name


async def test_a_failing_unit_is_an_error_each_time_and_its_letter_carries_the_trace(
    kit: Kit, name: str, spans: Spans
) -> None:
    app = kit.app(name, retry_backoff=0.01)
    topic = app.topic(f"{name}-in", value_type=str, partitions=1)

    @app.agent(topic, on_error=fs.retry(2, then="dead_letter"))
    async def failing(stream: fs.Stream[str]) -> None:
        async for word in stream:
            if word == "bad":
                raise ValueError("no")

    await kit.create(app)
    async with kit.running(app):
        await topic.send(value="bad")
        await topic.send(value="good")
        await kit.until(kit.committed(app, f"{name}-in", 2))
    tries = spans(f"process {name}-in")
    assert [span.status.is_ok for span in tries] == [False, False, False, True]
    assert all(span.events[0].name == "exception" for span in tries[:3])
    first, second = spans(f"send {name}-in")
    assert [parent(span) for span in tries] == [ids(first)] * 3 + [ids(second)]
    (letter,) = await kit.records(f"{name}-dead-letters")
    assert carried(letter.headers) == ids(tries[2])


async def test_a_take_is_one_span_with_links(kit: Kit, name: str, spans: Spans) -> None:
    app = kit.app(name)
    topic = app.topic(f"{name}-in", value_type=str, partitions=1)

    @app.agent(topic)
    async def pairs(stream: fs.Stream[str]) -> None:
        async for _ in stream.take(2, within=60):
            pass

    await kit.create(app)
    async with kit.running(app):
        for word in ("a", "b", "c", "d"):
            await topic.send(value=word)
        await kit.until(kit.committed(app, f"{name}-in", 4))
    sent = [ids(span) for span in spans(f"send {name}-in")]
    taken = spans(f"process {name}-in")[:2]
    assert [parent(span) for span in taken] == [sent[0], sent[2]]
    links = [[(each.context.trace_id, each.context.span_id) for each in s.links] for s in taken]
    assert links == [[sent[1]], [sent[3]]]


async def test_instances_side_by_side_have_spans_too(kit: Kit, name: str, spans: Spans) -> None:
    app = kit.app(name)
    topic = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.agent(topic, sink=[out], concurrency=3)
    async def lanes(stream: fs.Stream[str]):  # type: ignore[no-untyped-def]
        async for word in stream:
            yield word

    await kit.create(app)
    async with kit.running(app):
        for word in ("a", "b", "c", "d"):
            await topic.send(key=word, value=word)
        await kit.until(kit.count(f"{name}-out", 4))
    found = {ids(span) for span in spans(f"process {name}-in")}
    assert {carried(record.headers) for record in await kit.records(f"{name}-out")} == found
    assert len(found) == 4


async def test_what_is_not_sampled_still_goes_on(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(sampler=ALWAYS_OFF))
    app = kit.app(name)
    topic = app.topic(f"{name}-in", value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.agent(topic, sink=[out])
    async def copy(stream: fs.Stream[str]):  # type: ignore[no-untyped-def]
        async for word in stream:
            yield word

    await kit.create(app)
    parent_of_all = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    async with kit.running(app):
        await topic.send(value="a", headers={"traceparent": parent_of_all})
        await kit.until(kit.count(f"{name}-out", 1))
    (record,) = await kit.records(f"{name}-out")
    assert carried(record.headers)[0] == 0x0AF7651916CD43DD8448EB211C80319C


def test_without_a_provider_nothing_is_traced_nor_imported() -> None:
    app = fs.App("untraced")
    agent = fs.Agent(lambda stream: None, app.topic("t"), name="a", sinks=(), on_error="stop")  # type: ignore[arg-type,return-value]
    reader = Reader(agent, "t", Stage.WHOLE)
    assert instance_kind(reader, is_sensed=False) is Instance
    code = (
        "import sys, flowstream, flowstream.processing.worker; flowstream.App('a');"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_context_of_the_apps_own_stays_and_one_handed_on_is_replaced() -> None:
    ours = {"traceparent": b"new"}
    assert carrying((("a", b"1"),), ours) == (("a", b"1"), ("traceparent", b"new"))
    own = (("traceparent", b"mine"),)
    assert carrying(own, ours) == own
    assert carrying(own, ours, came=own) == (("traceparent", b"new"),)


async def test_what_the_app_traces_has_spans(kit: Kit, name: str, spans: Spans) -> None:
    app = kit.app(name)
    ran: list[str] = []

    @app.agent(app.topic(name, partitions=1))
    async def nothing(stream: fs.Stream[bytes]) -> None:
        async for _ in stream:
            pass

    @app.task
    async def warm_up() -> None:
        with app.trace("inside", size=3), app.trace("unseen", trace_enabled=False) as none:
            assert none is None
            ran.append("warm_up")

    @app.task(traced=False)
    async def quiet() -> None:
        ran.append("quiet")

    @app.timer(0.01, on_leader=True)
    async def tick() -> None:
        if "tick" not in ran:
            ran.append("tick")

    async with kit.running(app):
        await kit.sees(lambda: set(ran) == {"warm_up", "quiet", "tick"})
    where = "test_what_the_app_traces_has_spans.<locals>."
    (outer,), (inner,) = spans(f"{where}warm_up"), spans("inside")
    assert parent(inner) == ids(outer)
    assert dict(inner.attributes or {}) == {"size": 3}
    assert spans(f"{where}tick")
    assert not spans(f"{where}quiet")
    assert not spans("unseen")
    assert app.tracer is not None

    def double(number: int) -> int:
        return 2 * number

    assert app.traced(double, "doubling", of="numbers")(4) == 8
    assert dict(spans("doubling")[0].attributes or {}) == {"of": "numbers"}


async def test_V2_a_trace_that_a_record_has_no_room_for_stops_nobody(
    kit: Kit, name: str, spans: Spans
) -> None:
    app = kit.app(name)
    lines = app.topic(f"{name}-in", value_type=str, partitions=1)
    out = app.topic(
        f"{name}-out", value_type=bytes, partitions=1, config={"max.message.bytes": "5000"}
    )
    seen = app.channel(value_type=int)
    largest = bytes(5000 - (batch_bytes(None, bytes(4_900), ()) - 4_900))
    assert batch_bytes(None, largest, ()) == 5000

    @app.agent(lines, sink=[out])
    async def fill(stream: fs.Stream[str]):  # type: ignore[no-untyped-def]
        async for word in stream:
            await seen.put(len(word))
            yield largest if word == "x" else word.encode()

    await kit.create(app)
    async with kit.running(app):
        for word in "axb":
            await lines.send(value=word)
        await kit.until(kit.count(out.name, 3))
    records = await kit.records(out.name)
    assert [record.value for record in records] == [b"a", largest, b"b"]
    assert [bool(record.headers) for record in records] == [True, False, True]
    assert len(spans(f"process {name}-in")) == 3
