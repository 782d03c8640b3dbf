"""The page for those who come from Faust: it has every name, its counts are right, and what it says
of ours is so.
"""

from __future__ import annotations

import inspect
import re
import types
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

import flowstream as fs
import flowstream.codecs
from flowstream.cli.app import VERBS, build
from flowstream.models import fields
from flowstream.processing.declarations.ported import PORTED
from flowstream.processing.instead import INSTEAD
from flowstream.processing.values.record import ALWAYS
from flowstream.processing.values.record_fields import Numeric
from tests.docs.pages import ROOT, Reader

PAGE = ROOT / "docs" / "migrating-from-faust.md"
NAMES = ROOT / "tests" / "data" / "faust-0.15.3-names.txt"
STATUSES = ("works", "differently", "otherwise", "left out", "inner")
HAS_IT = ("works", "differently")


class Row(NamedTuple):
    """Names that the page says the same of."""

    section: str
    names: list[str]
    status: str
    how: str


def rows() -> Iterator[Row]:
    """The rows of the page's tables of names."""
    section = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        found = re.fullmatch(r"\| (`[^|]+`) \| ([a-z ]+) \| (.*?) ?\|", line)
        if found and found[2] in STATUSES:
            yield Row(section, re.findall(r"`([^`]+)`", found[1]), found[2], found[3])


def samples() -> dict[str, Any]:
    """Something of each class that names are looked up on."""
    app = fs.App("sample", broker="kafka://127.0.0.1:9092")
    monitor = app.monitor
    topic = app.topic("topic", value_type=str)

    @app.agent(topic)
    async def agent(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    table = app.Table("table", default=int)
    windowed = app.Table("windowed", default=int).tumbling(10)
    return {
        "faust": fs, "exceptions": fs.exceptions, "App": app, "Agent": agent, "Topic": topic,
        "Table": table,
        "SetTable": app.SetTable("sets", partitions=1, start_manager=True),
        "WindowWrapper": windowed, "WindowSet": windowed["key"],
        "codecs": fs.codecs, "Codec": fs.Codec(), "Schema": fs.Schema(),
        "Channel": app.channel(), "Stream": app.channel().stream(), "Record": fs.Record,
        "Event": fs.Event(None, None, (), 0.0, "topic", 0, 0),
        "Worker": fs.Worker(app, "127.0.0.1:9092"), "Sensor": fs.Sensor(), "Monitor": monitor,
    }  # fmt: skip


def has_command(name: str) -> bool:
    """Whether `faust VERB`, `faust VERB --option` or `faust --option` is one of ours."""
    group: Any = typer.main.get_command(build(VERBS))
    verb, _, option = name.removeprefix("faust ").rpartition(" ")
    if not option.startswith("--"):
        return option in group.commands
    verbs = [verb] if verb else ["worker", "tables"]
    found = [group.commands[each] for each in verbs]
    found += [sub for each in found for sub in getattr(each, "commands", {}).values()]
    return any(option in parameter.opts for each in found for parameter in each.params)


def is_ours(name: str, on: dict[str, Any]) -> bool:
    """Whether a name of Faust's is one of ours: `App.topic`, `App.topic(config=)`, `App(id=)`."""
    if name.startswith("faust "):
        return has_command(name)
    path, _, option = name.rstrip("=)").partition("(")
    home, _, attribute = path.partition(".")
    if home == "App" and option and not attribute and hasattr(on["App"].conf, option):
        return True  # read there, as in Faust
    module, _, found = path.removeprefix("faust.").rpartition(".")
    if module.startswith(("models.", "sensors.")):
        is_there = find_spec(f"flowstream.{module}") is not None
        return is_there and hasattr(import_module(f"flowstream.{module}"), found)
    if home == "Field":
        each = [inspect.signature(getattr(fields, kind)).parameters for kind in fields.__all__]
        return option in Numeric.__annotations__ or any(option in own for own in each)
    if home not in on:
        return False
    if isinstance(on[home], type) and not attribute:
        return (
            option in inspect.signature(on[home].__init_subclass__).parameters or option in ALWAYS
        )
    if not attribute:
        own = inspect.signature(type(on[home])).parameters
        return option in own or (home == "App" and option in PORTED)
    if not hasattr(on[home], attribute):
        return False
    found = getattr(on[home], attribute)
    also = getattr(found, "also", ())
    return not option or option in (*inspect.signature(found).parameters, *also)


def test_the_page_has_every_name_once() -> None:
    listed = Counter(name for row in rows() for name in row.names)
    wanted = NAMES.read_text(encoding="utf-8").split("\n")[:-1]
    assert sorted(listed.elements()) == sorted(wanted)


def test_what_is_said_to_be_here_is_here() -> None:
    on = samples()
    missing = [
        name for row in rows() if row.status in HAS_IT for name in row.names
        if not is_ours(name, on)
    ]  # fmt: skip
    assert missing == []


def test_what_is_said_to_be_left_out_is_not_here() -> None:
    on = samples()
    found = [
        name for row in rows() if row.status == "left out" for name in row.names
        if is_ours(name, on)
    ]  # fmt: skip
    assert found == []


TOLD_ATTRIBUTES = (
    "faust", "App", "Agent", "Topic", "Table", "WindowWrapper", "Stream", "Event", "Channel",
    "SetTable", "Worker",
)  # fmt: skip
TOLD_OPTIONS = (
    "App", "App.topic", "App.agent", "App.Table", "App.GlobalTable", "App.SetTable", "App.crontab",
    "App.timer", "App.task", "App.channel", "App.page", "App.table_route", "Record",
    "Worker",
)  # fmt: skip


def is_told(name: str) -> bool:
    """Whether an error says what to use instead of this name of Faust's."""
    path, option, _ = name.partition("(")
    return path in TOLD_OPTIONS if option else path.rpartition(".")[0] in TOLD_ATTRIBUTES


def test_what_errors_say_to_use_instead_is_what_the_page_says() -> None:
    on = samples()
    said = {
        name: re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", row.how)
        for row in rows() if row.status in ("otherwise", "left out") for name in row.names
        if is_told(name) and not is_ours(name, on)
    }  # fmt: skip
    assert said == INSTEAD


@pytest.mark.parametrize("name", INSTEAD)
def test_a_name_that_is_not_here_says_what_to_use(name: str) -> None:
    path, _, option = name.rstrip("=)").partition("(")
    home, _, attribute = path.rpartition(".")
    on = {**samples(), "": fs}
    kind, asked = (TypeError, option) if option else (AttributeError, attribute)

    def use() -> None:
        if home == "" and attribute == "Record":
            types.new_class("Order", (fs.Record,), {option: None})
        if home == "" and attribute == "Worker":
            fs.Worker(on["App"], "127.0.0.1:9092", **{option: None})
        getattr(on[home], attribute)(**{option: None})

    with pytest.raises(kind) as caught:
        use()
    assert asked in str(caught.value)
    assert str(caught.value).endswith(f": {INSTEAD[name]}")


def test_other_names_are_refused_as_ever() -> None:
    app = fs.App("shop")
    with pytest.raises(TypeError, match=r"^App\.Table\(defalt=\) is not taken: is it default=\?$"):
        app.Table("table", defalt=int)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"^App\.timer\(x=\) is not taken: there are interval, on_"):
        app.timer(1.0, x=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^App\.topic takes name by position, and what else there"):
        app.topic("a", "b")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"^App\.channel takes nothing by position, and what else"):
        app.channel(int)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"^App is called without id: write App\(id, \.\.\.\)$"):
        fs.App()  # type: ignore[call-arg]
    with pytest.raises(
        TypeError, match=r"without topic and to: write App\.outbox\(topic, to=\.\.\."
    ):
        app.outbox()  # type: ignore[call-arg]
    with pytest.raises(
        TypeError, match=r"^Table\.tumbling\(expire=\) is not taken: is it expires=\?"
    ):
        app.Table("table", default=int).tumbling(5, expire=3)  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match=r"^'App' object has no attribute 'tables_'$"):
        app.tables_  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"^module 'flowstream' has no attribute 'nothing'$"):
        fs.nothing  # noqa: B018


def test_a_message_says_where_its_event_was() -> None:
    message = fs.Event("k", "v", (("h", b"1"),), 1.5, "words", 2, 7).message
    assert (message.topic, message.partition, message.offset) == ("words", 2, 7)
    assert message.tp == ("words", 2)
    assert (message.timestamp, message.headers) == (1.5, (("h", b"1"),))
    with pytest.raises(AttributeError, match=r"^'Message' object has no attribute 'value': `event"):
        message.value  # type: ignore[attr-defined]  # noqa: B018


def test_every_difference_is_explained() -> None:
    told = [row for row in rows() if row.status not in ("works", "inner")]
    assert [row.names for row in told if not row.how] == []


def counted() -> list[str]:
    """The lines of the table of counts."""
    found: dict[str, Counter[str]] = {}
    for row in rows():
        found.setdefault(row.section, Counter())[row.status] += len(row.names)
    total: Counter[str] = sum(found.values(), Counter())
    lines = []
    for section, counts in [("**all**", total), *found.items()]:
        ported = sum(counts.values()) - counts["inner"]
        cells = [str(counts[status]) for status in STATUSES]
        share = f"{100 * counts['left out'] / ported:.0f} %"
        lines.append(f"| {section} | {' | '.join(cells)} | {share} |")
    return lines


def test_the_counts_are_those_of_the_tables() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = [line for line in text.splitlines() if re.fullmatch(r"\| .+ %(?: of .+)? \|", line)]
    assert shown == counted()


def test_less_than_one_name_in_twenty_is_left_out() -> None:
    counts = Counter(row.status for row in rows() for _ in row.names)
    assert 20 * counts["left out"] < sum(counts.values()) - counts["inner"]


def test_the_port_on_the_page_runs(tmp_path: Path) -> None:
    Reader(tmp_path).follow(PAGE)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8")))
def test_links_lead_somewhere(target: str) -> None:
    assert (PAGE.parent / target).exists()
