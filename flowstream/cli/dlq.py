"""`flowstream dlq`: an app's dead letters, looked at, sent back or passed over."""

from __future__ import annotations

import base64
import json as jsonlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

import typer

from flowstream.cli.groups import must_be_known
from flowstream.cli.naming import AppId, AppModule, only_one, visiting
from flowstream.cli.options import Broker, Data, Json, perform, printable, show
from flowstream.processing.operating.letters import Letter, chosen
from flowstream.processing.operating.redriving import DeadLetters
from flowstream.processing.values.moments import moment_text
from flowstream.transport.admin import Admin

app = typer.Typer(
    help="Dead letters: events that an app's agents could not process.", no_args_is_help=True
)

COLUMNS = ("partition", "offset", "time", "agent", "topic", "key", "error", "cause")
SHOWN = 80
MOST_DIGITS = 40

Count = Annotated[
    int | None,
    typer.Option("--count", "-n", min=1, help="Only so many, the oldest of each partition first."),
]
Spots = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PARTITION:OFFSET]...", help="Only these, as `list` shows them; all without."
    ),
]
Execute = Annotated[
    bool, typer.Option("--execute", help="Do it; without this it is only shown what would be done.")
]


class Wanted(NamedTuple):
    """The app of a command, and which of its letters."""

    app_id: str | None
    spots: list[str]


def wanted(app_id: str | None, module: str | None, spots: Sequence[str | None]) -> Wanted:
    """What the words of a command name: where the app is named by its module, the first of them is
    a letter, too.
    """
    named = [spot for spot in (app_id, *spots) if spot is not None]
    first = 0 if module is not None else 1
    only_one(app_id if module is None else None, module)
    found: list[str] = []
    for spot in named[first:]:
        partition, colon, at = spot.partition(":")
        if not (colon and partition.isdecimal() and at.isdecimal() and len(spot) < MOST_DIGITS):
            raise typer.BadParameter(f"{spot!r} is not PARTITION:OFFSET, e.g. 0:17")
        found.append(f"{int(partition)}:{int(at)}")
    return Wanted(app_id if module is None else None, found)


@app.callback()
def noun() -> None:
    """Dead letters: events that an app's agents could not process."""


@asynccontextmanager
async def letters_of(
    app_id: str | None, module: str | None, broker: str | None, data: Path | None
) -> AsyncIterator[DeadLetters]:
    """The dead letters of an app."""
    async with visiting(app_id, module, broker, data) as (cluster, app):
        admin = Admin(cluster)
        if app.dead_letters not in await admin.topics([app.dead_letters]):
            await must_be_known(cluster, app.id)
        async with DeadLetters(cluster, app.id, app.dead_letters, app.agents) as dead:
            yield dead


def text(data: bytes | None) -> str | None:
    """Bytes for people: as text where they are, else base64."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(data).decode()


def row(letter: Letter) -> tuple[object, ...]:
    """A letter's line in a list."""
    told = letter.told
    key = text(letter.key)
    cause = " ".join(told.get("cause", "").split())
    return (
        letter.tp.partition, letter.offset, moment_text(letter.timestamp_ms),
        told.get("agent"), told.get("topic"),
        key if key is None else key[:SHOWN], told.get("error"), cause[:SHOWN] or None,
    )  # fmt: skip


@app.command("list")
def list_command(
    app_id: AppId = None,
    module: AppModule = None,
    count: Count = None,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the dead letters that were neither sent back nor discarded."""
    only_one(app_id, module)

    async def work() -> None:
        async with letters_of(app_id, module, broker, data) as dead:
            show(COLUMNS, [row(each) async for each in dead.waiting(count)], as_json=json)

    perform(work)


@app.command("show")
def show_command(
    app_id: AppId = None,
    offset: Annotated[
        str | None,
        typer.Argument(metavar="PARTITION:OFFSET", help="Which one, as `list` shows them."),
    ] = None,
    module: AppModule = None,
    broker: Broker = None,
    data: Data = None,
) -> None:
    """Show one dead letter: key, value, headers, and the traceback of its error."""
    app_id, spots = wanted(app_id, module, [offset])
    if not spots:
        raise typer.BadParameter("which one? Name it as PARTITION:OFFSET, e.g. 0:17")

    async def work() -> None:
        async with letters_of(app_id, module, broker, data) as dead:
            found = [each async for each in dead.waiting() if each.spot in spots]
            (letter,) = chosen(found, spots)
            typer.echo(described(letter))

    perform(work)


def described(letter: Letter) -> str:
    """Everything that a letter says."""
    told = dict(letter.told)
    traceback = told.pop("traceback", "")
    found = {
        "time": moment_text(letter.timestamp_ms),
        "key": text(letter.key),
        "value": text(letter.value),
        "headers": {name: text(value) for name, value in letter.headers},
        **told,
    }
    return jsonlib.dumps(found, indent=2, ensure_ascii=False) + f"\n\n{printable(traceback)}"


@app.command()
def redrive(
    app_id: AppId = None,
    letters: Spots = None,
    module: AppModule = None,
    count: Count = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[OLD=]NAME",
            help="The agent that gets the letters of agent OLD; without OLD, those that name none.",
        ),
    ] = None,
    even_if_newer: Annotated[
        bool,
        typer.Option(
            "--even-if-newer",
            help="Also into a compacted topic that has a newer record of the key.",
        ),
    ] = False,
    execute: Execute = False,
    broker: Broker = None,
    data: Data = None,
) -> None:
    """Send dead letters back to the topics they came from, each exactly once, and each for the
    agent alone that failed on it.
    """
    of = wanted(app_id, module, letters or ())
    renamed: dict[str, str] = {}
    for each in to or ():
        old, _, name = each.rpartition("=")
        if not name:
            raise typer.BadParameter(f"{each!r} names no agent: --to [OLD=]NAME")
        renamed[old] = name

    async def send_back(dead: DeadLetters, waiting: list[Letter], *, execute: bool) -> None:
        do = dead.redrive if execute else dead.addressees
        await do(waiting, renamed, even_if_newer=even_if_newer)

    dead_letters = letters_of(of.app_id, module, broker, data)
    deal(dead_letters, of.spots, count, send_back, "sent back", execute=execute)


@app.command()
def discard(
    app_id: AppId = None,
    letters: Spots = None,
    module: AppModule = None,
    count: Count = None,
    execute: Execute = False,
    broker: Broker = None,
    data: Data = None,
) -> None:
    """Pass over dead letters for good (their records stay in the topic)."""
    of = wanted(app_id, module, letters or ())

    async def pass_over(dead: DeadLetters, waiting: list[Letter], *, execute: bool) -> None:
        if execute:
            await dead.discard(waiting)

    dead_letters = letters_of(of.app_id, module, broker, data)
    deal(dead_letters, of.spots, count, pass_over, "discarded", execute=execute)


class Deal(Protocol):
    """What is done with letters; without `execute`, what can be refused of it is."""

    async def __call__(self, dead: DeadLetters, waiting: list[Letter], *, execute: bool) -> None:
        """Do it."""


def deal(
    letters: AbstractAsyncContextManager[DeadLetters],
    spots: Collection[str],
    count: int | None,
    do: Deal,
    what: str,
    *,
    execute: bool,
) -> None:
    """Redrive or discard, or say what that would do."""
    if spots and count is not None:
        raise typer.BadParameter("name letters, or say how many with --count: not both")

    async def work() -> None:
        async with letters as dead:
            waiting = [each.slim() async for each in dead.waiting(count)]
            if spots:
                waiting = chosen(waiting, spots)
            told = f"{len(waiting)} dead letter{'' if len(waiting) == 1 else 's'}"
            await do(dead, waiting, execute=execute)
            if execute:
                typer.echo(f"{told} {what}")
                return
            show(COLUMNS, map(row, waiting))
            typer.echo(f"{told} would be {what}: add --execute to do it")

    perform(work)
