"""Dead letters are looked at, sent back exactly once, and passed over."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import flowstream as fs
from flowstream.cli.app import build
from flowstream.processing.events.redriven import address
from flowstream.processing.operating.redriving import BadLetter, DeadLetters
from flowstream.transport.errors import TransportError
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
    assert sorted((r.value, r.timestamp, tuple(r.headers)) for r in again) == [
        (b"x", 0, (to, own)), (b"x", 0, (own,)), (b"y", 2_000, (to, own)), (b"y", 2_000, (own,)),
        (b"z", 4_000, (to, own)), (b"z", 4_000, (own,)),
    ]  # fmt: skip
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
    assert "'' is not PARTITION:OFFSET" in await run("show", "-A", module)
    assert "no dead letter waits at 0:99" in await run("show", app.id, "0:99")
    assert "3 dead letters would be sent back" in await run("redrive", app.id)
    # The module's app has no agents, and who gives the id does not say which there are.
    for more in ((), ("--execute",)):
        refused = " ".join((await run("redrive", "-A", module, *more)).split())
        assert "is for agent 'work', which the app does not have" in refused
    assert "names no agent" in await run("redrive", app.id, "--to", "work=")
    renamed = await run("redrive", "-A", module, "--to", "work=other")
    assert "is for agent 'other'" in " ".join(renamed.split())
    assert "1 dead letter sent back" in await run("redrive", app.id, "-n", "1", "--execute")
    assert "2 dead letters discarded" in await run("discard", app.id, "--execute")
    assert json.loads(await run("list", app.id, "--json")) == []
