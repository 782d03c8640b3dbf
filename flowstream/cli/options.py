"""What the verbs that visit a cluster share: their options, finding the broker, printing.

Knows addresses and terminals; the verbs know what to ask.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from flowstream.cli.embedded import find_broker, first_error, not_running, standing_broker
from flowstream.cli.pipes import leave_stdout
from flowstream.cli.tracebacks import place
from flowstream.errors import FlowstreamError
from flowstream.processing.environment.securing import security_of
from flowstream.processing.environment.settings import Settings, bootstrap_of, resolve
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import BrokerUnreachable, UnknownTopic
from flowstream.transport.silence import told_of_silence
from flowstream.transport.types import TopicDescription, TopicPartition

Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        help="kafka://HOST:PORT or kafka+sasl_ssl://HOST:PORT; without it, the embedded broker's.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", "--datadir", help="Directory of the embedded broker: the app's data_dir."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs instead of a table.")]

APP_SETTINGS: ContextVar[Settings | None] = ContextVar("app_settings", default=None)
"""Those of the app whose command line this is: its broker and logins are the verbs' then."""
EMBEDDED = "embedded://"
NO_EDGE = 1_000_000
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in b"\n\t"
}


def bootstrap(broker: str | None, data: Path | None, settings: Settings) -> tuple[str, Path | None]:
    """HOST:PORT of the broker that the options, or else the settings, mean; and its directory when
    it is an embedded one.
    """
    named = broker or (None if data is not None else settings.broker)
    if named is not None:
        found = bootstrap_of(named)
        if found is not None:
            return found, None
        data = Path(named.removeprefix(EMBEDDED) or settings.data_dir)
    directory = data if data is not None else Path(settings.data_dir)
    return find_broker(directory), directory


@asynccontextmanager
async def connected(broker: str | None, data: Path | None) -> AsyncIterator[Cluster]:
    """A connection to the cluster for the length of a block."""
    hush()
    settings = APP_SETTINGS.get() or resolve({})
    address, directory = bootstrap(broker, data, settings)
    named = broker or (EMBEDDED if data is not None else settings.broker)
    security = security_of(settings, named or EMBEDDED)
    cluster = Cluster(address, client_id="flowstream-cli", security=security)
    try:
        with told_of_silence(address, tell):
            await cluster.connect()
    except BrokerUnreachable:
        if directory is None:
            raise
        beside = await standing_broker(directory)
        raise beside or not_running(directory, address) from None
    try:
        yield cluster
    finally:
        await cluster.close()


async def partitions_of(
    cluster: Cluster, topic: str, wanted: Sequence[int] | None
) -> list[TopicPartition]:
    """The partitions of a topic that are meant, all when None; UnknownTopic when there is no such
    thing.
    """
    count = (await topics_of(cluster, [topic]))[topic].partitions
    numbers = range(count) if wanted is None else wanted
    for number in numbers:
        if not 0 <= number < count:
            raise UnknownTopic(f"{topic} has no partition {number}, only {count}")
    return [TopicPartition(topic, number) for number in numbers]


async def topics_of(
    cluster: Cluster, names: Collection[str], *, configs: bool = False
) -> dict[str, TopicDescription]:
    """These topics; UnknownTopic when one of them is not there."""
    found = await Admin(cluster).topics(names, configs=configs)
    for name in names:
        if name not in found:
            raise UnknownTopic(f"there is no topic {name!r}: `flowstream topics list` has all")
    return found


def hush() -> None:
    """What goes wrong in a visit is told by its error: without this, the clients' logs go to the
    terminal as well.
    """
    for name in ("aiokafka", "flowstream.cluster"):
        logging.getLogger(name).addHandler(logging.NullHandler())


def tell(line: str) -> None:
    """A line beside what a verb prints."""
    typer.echo(line, err=True)


def pair(text: str) -> tuple[str, str]:
    """`key=value` in two."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{text!r} is not key=value")
    return key, value


def pairs(given: Sequence[str] | None, removed: Sequence[str] | None = None) -> dict[str, str]:
    """`key=value` pairs, each key named once, and none that is to be `removed` as well."""
    found = [pair(text) for text in given or ()]
    names = Counter([key for key, _ in found] + list(removed or ()))
    if twice := [name for name, count in names.items() if count > 1]:
        raise typer.BadParameter(f"{twice[0]} is named twice: which one is meant?")
    return dict(found)


def perform(work: Callable[[], Coroutine[Any, Any, None]], *, is_users: bool = False) -> None:
    """Run a verb; what went wrong on purpose is told in one line, with exit status 1. The errors of
    a command that `is_users` are for whoever calls it: they do not say where they come from.
    """
    wrong: BaseException | None = None
    misused: BaseException | None = None
    interrupted = False
    try:
        asyncio.run(work())
    except* FlowstreamError as group:
        wrong = first_error(group)
    except* typer.BadParameter as group:
        misused = first_error(group)
    except* KeyboardInterrupt:
        interrupted = True
    except* BrokenPipeError:
        leave_stdout()  # whoever read our output has enough (`| head`)
    if interrupted:
        raise typer.Exit(130)
    if wrong is not None:
        refuse(wrong, place_of=None if is_users else wrong)
    if misused is not None:
        raise misused


def refuse(error: BaseException, *, place_of: BaseException | None) -> NoReturn:
    """Tell what went wrong, and which of the user's own lines led to `place_of` or to its cause, if
    any did; exit status 1.
    """
    chain = [] if place_of is None else [place_of, place_of.__cause__]
    where = next((at for each in chain if each is not None and (at := place(each))), None)
    typer.echo(f"error: {error}" if where is None else f"error: {where}: {error}", err=True)
    raise typer.Exit(1) from None


@contextmanager
def refusing() -> Iterator[None]:
    """As `perform`, for a block that needs no cluster."""
    try:
        yield
    except FlowstreamError as error:
        refuse(error, place_of=error)


def show(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, as_json: bool = False
) -> None:
    """Print rows as a table, or as a JSON array of objects."""
    if as_json:
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    print_table(Console(), table_of(columns, rows))


def print_table(console: Console, table: Table) -> None:
    """Print a table. What is too wide for a terminal is folded in its columns; where there is no
    terminal there is no edge.
    """
    if not console.is_terminal:
        without_edge = console.options.update(max_width=NO_EDGE)
        needed = Measurement.get(console, without_edge, table).maximum
        console = Console(width=max(needed, console.width))
    console.print(table)


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Rows for people. Numbers stay whole; texts are folded where they must."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    cells = [list(row) for row in rows]
    for at, column in enumerate(columns):
        whole = all(row[at] is None or isinstance(row[at], int | float) for row in cells)
        table.add_column(column.replace("_", " "), no_wrap=whole, overflow="fold")
    for row in cells:
        # A text as it is: brackets in a key or an error are no markup of ours.
        table.add_row(*(Text("-" if cell is None else printable(str(cell))) for cell in row))
    return table


def printable(text: str) -> str:
    """Text that strangers wrote, for a terminal: what would steer that is spelled.

    >>> printable("a\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return text.translate(_CONTROLS)
