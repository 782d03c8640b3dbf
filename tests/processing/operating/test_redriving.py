"""Dead letters are looked at, sent back exactly once, and passed over."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flowstream as fs
from flowstream.cli.app import build
from flowstream.processing.events.redriven import address
from flowstream.processing.operating import newer, redriving
from flowstream.processing.operating.letters import BadLetter
from flowstream.processing.operating.redriving import DeadLetters
from flowstream.transport.errors import RequestRefused, TransportError
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import LogRecord
from flowstream.wire.error_codes import ErrorCode
from tests.processing.conftest import Kit


async def with_letters(kit: Kit, name: str) -> tuple[fs.App, fs.Topic[str, str], set[str]]:
    """An app that made dead letters of three of five words, and what it fails on."""
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=2)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    bad = {"x", "y", "z"}

    @app.agent(words, sink=[out], on_error="dead_letter")
    async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            if word in bad:
                raise ValueError(f"bad {word}")
            yield word

    await kit.create(app)
    async with kit.running(app):
        for number, word in enumerate("xaybz"):
            await words.send(key=word, value=word, timestamp=float(number), headers={"h": b"1"})
        await kit.until(kit.count(app.dead_letters, 3))
    return app, words, bad


async def test_S9_letters_go_back_as_they_were_and_once(kit: Kit, name: str) -> None:
    app, words, bad = await with_letters(kit, name)
    async with DeadLetters(kit.cluster, app.id, app.dead_letters) as dead:
        letters = await dead.pending()
        assert sorted(letter.key or b"" for letter in letters) == [b"x", b"y", b"z"]
        await dead.redrive(letters[:2])
        assert await dead.pending() == letters[2:]
        await dead.redrive(await dead.pending())
        assert await dead.pending() == []
        await dead.redrive([])
    records = await kit.records(words.name)
    assert len(records) == 8
    again = [r for r in records if [r.value for r in records].count(r.value) == 2]
    own = ("h", b"1")
    to = address(app.id, "work", words.name)
    first = {r.value: b"%d" % r.offset for r in again if r.headers[0] == own}
    expected: list[tuple[bytes | None, int, tuple[tuple[str, bytes | None], ...]]] = []
    for value, at in ((b"x", 0), (b"y", 2_000), (b"z", 4_000)):
        back = (to, ("flowstream.redriven-from", first[value]), own)
        expected += [(value, at, back), (value, at, (own,))]
    assert sorted((r.value, r.timestamp, tuple(r.headers)) for r in again) == expected
    bad.clear()
    await kit.run_until(app, kit.count(f"{name}-out", 5))


async def test_T4_one_of_two_that_redrive_is_refused(kit: Kit, name: str) -> None:
    app, words, _ = await with_letters(kit, name)
    async with (
        DeadLetters(kit.cluster, app.id, app.dead_letters) as first,
        DeadLetters(kit.cluster, app.id, app.dead_letters) as second,
    ):
        letters = await first.pending()
        await first.redrive(letters[:1])
        with pytest.raises(BadLetter, match="look again"):
            await second.redrive(letters)
        with pytest.raises(TransportError):
            await first.redrive(letters[1:])
        await second.discard(await second.pending())
    assert len(await kit.records(words.name)) == 6


async def test_S9_letters_are_dealt_with_one_by_one_in_any_order(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = kit.app(name)
    source = app.topic(f"{name}-in", value_type=str, partitions=1)
    letters = app.topic(app.dead_letters, value_type=str, partitions=2)
    await kit.create(app)
    told = {"topic": source.name, "partition": "0", "agent": "work"}
    headers = {f"flowstream.{what}": each.encode() for what, each in told.items()}
    for number in range(8):
        await letters.send(value=f"{number}", headers=headers, partition=number % 2)

    async def values() -> list[bytes | None]:
        async with DeadLetters(kit.cluster, app.id, app.dead_letters) as dead:
            return sorted(letter.value or b"" for letter in await dead.pending())

    gone: list[bytes] = []
    for number, most in ((3, 6), (5, None), (0, None), (1, 6), (7, None)):
        async with DeadLetters(kit.cluster, app.id, app.dead_letters) as dead:
            pending = await dead.pending(most)
            deal = dead.discard if number == 5 else dead.redrive
            gone.append(b"%d" % number)
            await deal([each for each in pending if each.value == gone[-1]])
        left = [value for value in (b"%d" % n for n in range(8)) if value not in gone]
        assert await values() == left
    sent = [value for value in gone if value != b"5"]
    assert await kit.values(source.name) == sent
    # What somebody deals with by the numbers of another look is refused, none of it is done.
    async with (
        DeadLetters(kit.cluster, app.id, app.dead_letters) as first,
        DeadLetters(kit.cluster, app.id, app.dead_letters) as second,
    ):
        looked, _ = await first.pending(), await second.pending()
        await second.discard(looked[-1:])
        with pytest.raises(BadLetter, match="look again"):
            await first.redrive(looked)
    monkeypatch.setattr(redriving, "LONGEST_NOTE", 4)
    async with DeadLetters(kit.cluster, app.id, app.dead_letters) as dead:
        pending = await dead.pending()
        with pytest.raises(BadLetter, match=r"too many letters of .* are dealt with one by one"):
            await dead.discard(pending[-1:])
        await dead.redrive(pending)
    assert await values() == []
    assert len(await kit.values(source.name)) == len(sent) + 2


async def test_who_may_not_see_newer_records_is_told_what_to_do(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise RequestRefused("configs of topic x", ErrorCode.TOPIC_AUTHORIZATION_FAILED)

    app, _, _ = await with_letters(kit, name)
    monkeypatch.setattr(newer, "describe_configs", refuse)
    async with DeadLetters(kit.cluster, app.id, app.dead_letters) as dead:
        waiting = await dead.pending()
        with pytest.raises(BadLetter, match=r"cannot be seen \(configs of .*--even-if-newer"):
            await dead.redrive(waiting)
        await dead.redrive(waiting, even_if_newer=True)
        assert await dead.pending() == []


async def test_L7_a_letter_does_not_outlive_a_newer_record_of_its_key(kit: Kit, name: str) -> None:
    app = kit.app(name)
    config = {"cleanup.policy": "compact"}
    rows = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=1, config=config)
    letters = app.topic(app.dead_letters, key_type=str, value_type=int, partitions=1)
    await kit.create(app)
    for offset, key in enumerate("abab"):
        await rows.send(key=key, value=offset)

    async def letter(offset: int, key: str) -> None:
        told = {"topic": rows.name, "partition": "0", "agent": "work", "offset": f"{offset}"}
        headers = {f"flowstream.{what}": each.encode() for what, each in told.items()}
        await letters.send(key=key, value=offset, headers=headers)

    await letter(2, "a")
    await letter(1, "b")
    async with DeadLetters(kit.cluster, app.id, app.dead_letters) as dead:
        newest, old = await dead.pending()
        for refused in ([newest, old], [old]):
            with pytest.raises(BadLetter, match=r"offset 3\).*Discard it \(0:1\).*--even-if-newer"):
                await dead.redrive(refused)
        # What was sent back of the newest record is no newer one, for the letter of another agent.
        await dead.redrive([newest])
        await letter(2, "a")
        # A letter of the newest record that goes back behind it: the last one is what is kept.
        await letter(3, "b")
        waiting = await dead.pending()
        assert [each.key for each in waiting] == [b"b", b"a", b"b"]
        await dead.addressees(waiting)
        with pytest.raises(BadLetter, match="has a newer record"):
            await dead.addressees([waiting[2], waiting[0]])
        await dead.redrive(waiting[:1], even_if_newer=True)
        await dead.redrive(await dead.pending())
    sent = (await kit.records(rows.name))[4:]
    assert [(each.key, each.value) for each in sent] == [
        (b"a", b"2"), (b"b", b"1"), (b"a", b"2"), (b"b", b"3"),
    ]  # fmt: skip


async def test_X3_letters_are_read_as_they_are_dealt_with(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = kit.app(name)
    source = app.topic(f"{name}-in", value_type=str, partitions=1)
    letters = app.topic(app.dead_letters, value_type=str, partitions=2)
    await kit.create(app)
    told = {"topic": source.name, "partition": "0", "agent": "work", "traceback": "at length"}
    headers = {f"flowstream.{what}": each.encode() for what, each in told.items()}
    for number in range(8):
        await letters.send(value=f"{number}", headers={**headers, "h": b"1"}, partition=number // 4)
    seen: list[str] = []
    commit = DeadLetters._pass

    class OneByOne(PartitionReader):
        def __init__(self, cluster: Any, tp: Any, start: int) -> None:
            super().__init__(cluster, tp, start, max_bytes=1)

        async def read(self, timeout_ms: int = 500) -> list[LogRecord]:
            found = await super().read(timeout_ms)
            seen.extend("read" for _ in found)
            return found

    async def passed(self: DeadLetters, letters: Any, buffer: Any) -> None:
        seen.append(f"passed {len(letters)}")
        await commit(self, letters, buffer)

    monkeypatch.setattr(redriving, "PartitionReader", OneByOne)
    monkeypatch.setattr(redriving, "BYTES_AT_ONCE", 2)
    monkeypatch.setattr(DeadLetters, "_pass", passed)
    async with DeadLetters(kit.cluster, app.id, app.dead_letters) as dead:
        assert [each.value async for each in dead.waiting(2)] == [b"0", b"1"]
        assert seen == ["read"] * 2
        slim = [each.slim() async for each in dead.waiting()]
        assert {(each.value, each.headers) for each in slim} == {(None, ())}
        assert not any("traceback" in each.told for each in slim)
        seen.clear()
        await dead.redrive([*slim[:3], *slim[5:]])
        assert seen == [
            "read", "read", "passed 2", "read", "read", "read", "read", "passed 2", "read", "read",
            "passed 2",
        ]  # fmt: skip
        assert [each.value async for each in dead.waiting()] == [b"3", b"4"]
    sent = await kit.records(source.name)
    assert [each.value for each in sent] == [b"0", b"1", b"2", b"5", b"6", b"7"]
    assert {dict(each.headers)["h"] for each in sent} == {b"1"}


async def test_L7_what_was_sent_back_is_as_new_as_it_was(kit: Kit, name: str) -> None:
    """Compaction may have left nothing else of it: the original is gone, as it is older."""
    app = kit.app(name)
    config = {"cleanup.policy": "compact"}
    rows = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=1, config=config)
    letters = app.topic(app.dead_letters, key_type=str, value_type=int, partitions=1)
    await kit.create(app)
    for key in "xy":  # in place of two older records of "k"
        await rows.send(key=key, value=0)
    for offset in (0, 1):
        told = {"topic": rows.name, "partition": "0", "agent": "work", "offset": f"{offset}"}
        headers = {f"flowstream.{what}": each.encode() for what, each in told.items()}
        await letters.send(key="k", value=offset, headers=headers)
    async with DeadLetters(kit.cluster, app.id, app.dead_letters) as dead:
        older, newer_one = await dead.pending()
        await dead.redrive([newer_one])
        with pytest.raises(BadLetter, match="has a newer record"):
            await dead.redrive([older])
        # A copy with all headers, of what was sent back elsewhere, is a record like any other.
        await rows.send(key="z", value=1, headers=(address(app.id, "work", "elsewhere"),))
        told = {"topic": rows.name, "partition": "0", "agent": "work", "offset": "0"}
        headers = {f"flowstream.{what}": each.encode() for what, each in told.items()}
        await letters.send(key="z", value=0, headers=headers)
        with pytest.raises(BadLetter, match="has a newer record"):
            await dead.redrive((await dead.pending())[1:])
    assert [each.value for each in await kit.records(rows.name)] == [b"0", b"0", b"1", b"1"]


@pytest.mark.parametrize("partition", [b"", b"x", b"9" * 5000])
async def test_a_letter_that_does_not_say_where_it_came_from(
    kit: Kit, name: str, partition: bytes
) -> None:
    app = kit.app(name)
    topic = app.topic(app.dead_letters, value_type=str, partitions=1)
    await kit.create(app)
    told = {"flowstream.topic": b"words", "flowstream.partition": partition}
    await topic.send(value="a stray", headers=told)
    async with DeadLetters(kit.cluster, app.id, app.dead_letters) as dead:
        with pytest.raises(BadLetter, match="Discard it"):
            await dead.redrive(await dead.pending())
        await dead.discard(await dead.pending())
        assert await dead.pending() == []


LATE = {"error": "LateEvent", "cause": "the windows of table 'hits' have closed"}


@pytest.mark.parametrize(
    ("told", "renamed", "refusal"),
    [
        ({}, {}, "does not say which agent failed on it: name the one that gets it, --to NAME"),
        ({}, {"": "mine"}, None),
        ({"agent": "mine"}, {}, None),
        ({"agent": "gone"}, {}, "'gone', which the app does not have: if it.*--to gone=NAME"),
        ({"agent": "gone"}, {"gone": "mine"}, None),
        ({"agent": "gone"}, {"gone": "its"}, "'its', which the app does not have: .*--to NAME"),
        ({"agent": "mine"}, {"mien": "mine"}, "none of these letters is of agent 'mien'.*'mine'"),
        ({"agent": "gone"}, {"": "mine"}, "without the name of its agent.*of 'gone', and --to OLD"),
        ({"agent": "mine", **LATE}, {}, "too late for its windows, and would again"),
        ({"agent": "mine", "error": "LateEvent", "cause": "its own"}, {}, None),
        ({"agent": "mine", "topic": "mine-windows.due"}, {}, "which is no topic"),
    ],
)
async def test_S11_a_letter_goes_to_its_agent_or_is_refused_with_what_to_do(
    kit: Kit, name: str, told: dict[str, str], renamed: dict[str, str], refusal: str | None
) -> None:
    app = kit.app(name)
    letters = app.topic(app.dead_letters, value_type=str, partitions=1)
    words = app.topic(f"{name}-in", value_type=str, partitions=1)
    await kit.create(app)
    told = {"topic": words.name, "partition": "0", **told}
    headers = {f"flowstream.{what}": each.encode() for what, each in told.items()}
    await letters.send(value="a letter", headers=headers)
    async with DeadLetters(kit.cluster, app.id, app.dead_letters, {"mine"}) as dead:
        waiting = await dead.pending()
        if refusal is None:
            assert await dead.addressees(waiting, renamed) == ["mine"]
            await dead.redrive(waiting, renamed)
            await kit.until(kit.count(words.name, 1))
            (sent,) = await kit.records(words.name)
            assert list(sent.headers) == [address(app.id, "mine", words.name)]
        else:
            with pytest.raises(BadLetter, match=refusal):
                await dead.redrive(waiting, renamed)
            assert await dead.pending() == waiting
            await dead.discard(waiting)
        assert await dead.pending() == []


async def test_the_verbs(
    kit: Kit, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _, _ = await with_letters(kit, name)
    module = f"module_{uuid.uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(f"import flowstream\napp = flowstream.App({app.id!r})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    async def run(*words: str) -> str:
        arguments = ["dlq", *words, "--broker", f"kafka://{kit.address}"]
        command = build(["dlq", "doctor"])
        result = await asyncio.to_thread(CliRunner().invoke, command, arguments)
        assert result.exit_code in (0, 1, 2), result.output
        return result.output

    listed = json.loads(await run("list", app.id, "--json"))
    assert [each["error"] for each in listed] == ["ValueError"] * 3
    where = f"{listed[0]['partition']}:{listed[0]['offset']}"
    shown = await run("show", app.id, where)
    assert '"cause": "bad ' in shown
    assert "Traceback" in shown
    assert await run("show", "-A", module, where) == shown
    assert await run("list", "-A", f"./{module}.py", "--json") == await run(
        "list", app.id, "--json"
    )
    for words in (("list",), ("list", app.id, "-A", module), ("redrive", "--execute")):
        assert "name the app by its id, or by -A" in await run(*words)
    assert "there is no group 'nobody'" in await run("list", "nobody")
    assert "which one? Name it as PARTITION:OFFSET" in await run("show", "-A", module)
    assert "'x:1' is not PARTITION:OFFSET" in await run("show", "-A", module, "x:1")
    assert "no dead letter waits at 0:99" in await run("show", app.id, "0:99")
    assert "3 dead letters would be sent back" in await run("redrive", app.id)
    # The module's app has no agents, and who gives the id does not say which there are.
    for more in ((), ("--execute",)):
        refused = " ".join((await run("redrive", "-A", module, *more)).split())
        assert "is for agent 'work', which the app does not have" in refused
    assert "names no agent" in await run("redrive", app.id, "--to", "work=")
    renamed = await run("redrive", "-A", module, "--to", "work=other")
    assert "is for agent 'other'" in " ".join(renamed.split())
    spots = [f"{each['partition']}:{each['offset']}" for each in listed]
    for verb in ("redrive", "discard"):
        refused = " ".join((await run(verb, app.id, spots[1], "0:99", "7:7")).split())
        assert "no dead letter waits at 0:99, 7:7: `flowstream dlq list` has all" in refused
        assert "not both" in await run(verb, app.id, spots[1], "-n", "1")
        assert "'17' is not PARTITION:OFFSET" in await run(verb, "-A", module, "17")
    assert "1 dead letter would be discarded" in await run("discard", "-A", module, spots[1])
    assert "1 dead letter discarded" in await run("discard", "-A", module, spots[1], "--execute")
    waiting = json.loads(await run("list", app.id, "--json"))
    assert waiting == [listed[0], listed[2]]
    assert f"waits at {spots[1]}" in await run("redrive", app.id, spots[1], "--execute")
    assert "1 dead letter sent back" in await run("redrive", app.id, "-n", "1", "--execute")
    assert "1 dead letter sent back" in await run("redrive", app.id, spots[2], "--execute")
    assert "0 dead letters discarded" in await run("discard", app.id, "--execute")
    assert json.loads(await run("list", app.id, "--json")) == []
