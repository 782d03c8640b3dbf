"""`flowstream tables`: list an app's tables, read their committed rows, and verify their stores."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from flowstream.cli.apps import AppBroker, AppData, Module, app_of, cluster_of
from flowstream.cli.options import Json, perform, show
from flowstream.errors import FlowstreamError
from flowstream.processing.app import App
from flowstream.processing.duties.places import all_tables
from flowstream.processing.operating.looking import (
    Place,
    close,
    look,
    places,
    refuse_unknown,
    verify,
)
from flowstream.processing.tables.set_tables import MemberRows
from flowstream.processing.tables.showing import (
    KeyRows,
    Shown,
    all_shown,
    event_time,
    kind_of,
    parse_key,
    parse_prefix,
    rows_of,
    typed_bytes,
)
from flowstream.processing.tables.table import Table
from flowstream.processing.time.dues import PREFIX
from flowstream.state.expiring import TIME_ROW
from flowstream.state.keys import after
from flowstream.state.overlay import DELETED
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster

app = typer.Typer(
    help="List an app's tables, read their committed rows, and verify their stores.",
    no_args_is_help=True,
)

EVERY = KeyRows(b"", None)

Name = Annotated[str, typer.Argument(metavar="TABLE", help="The table.")]
Partition = Annotated[int | None, typer.Option("--partition", "-p", min=0, help="Only this one.")]


@app.command("list")
def list_tables(
    module: Module, broker: AppBroker = None, data: AppData = None, json: Json = False
) -> None:
    """List the app's tables: kind, partitions, changelog records, and stores on this machine."""

    async def work() -> None:
        async with opened(module, broker, data) as (found, cluster, existing):
            rows = []
            for name, table in sorted(all_tables(found).items()):
                there = _places(found, existing, name) if name in existing else []
                admin = Admin(cluster)
                tps = [place.changelog for place in there]
                ends, starts = await admin.end_offsets(tps), await admin.beginning_offsets(tps)
                records = sum(ends[tp] - starts[tp] for tp in tps)
                stores = sum(len(place.stores) for place in there)
                rows.append((name, kind_of(table), existing.get(name), records, stores,
                             found.changelog(name), table.help or None))  # fmt: skip
        columns = ("table", "kind", "partitions", "offsets", "stores", "changelog", "help")
        show(columns, rows, as_json=json)

    perform(work)


@app.command()
def get(
    name: Name,
    key: Annotated[str, typer.Argument(metavar="KEY", help="As text, or as JSON.")],
    module: Module,
    broker: AppBroker = None,
    data: AppData = None,
) -> None:
    """Print the value of a key (each window's, each member's) as JSON, one per line."""

    async def work() -> None:
        async with opened(module, broker, data) as (found, cluster, existing):
            table = _table(found, existing, name)
            mine = rows_of(table, parse_key(table, key))
            count = 0
            for place in _places(found, existing, name):
                async for row in read(cluster, place, mine):
                    count += 1
                    _print(row, place)
        if not count:
            raise FlowstreamError(f"table {name!r} has no key {key!r}")

    perform(work)


@app.command()
def scan(
    name: Name,
    module: Module,
    broker: AppBroker = None,
    data: AppData = None,
    start: Annotated[str | None, typer.Option(help="From this key on.")] = None,
    stop: Annotated[str | None, typer.Option(help="Up to this key, without it.")] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Keys that begin so: a text, or a JSON list of first fields.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="From the last to the first.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1)] = 100,
    partition: Partition = None,
) -> None:
    """Print rows in key order, partition by partition, as JSON, one per line."""

    async def work() -> None:
        async with opened(module, broker, data) as (found, cluster, existing):
            table = _table(found, existing, name)
            wanted = _range(table, start, stop, prefix)
            left = limit
            for place in _places(found, existing, name, partition):
                async for row in read(cluster, place, wanted, reverse=reverse, limit=left):
                    left -= 1
                    _print(row, place)
                if not left:
                    break

    perform(work)


@app.command()
def export(
    name: Name,
    module: Module,
    broker: AppBroker = None,
    data: AppData = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Else to stdout.")] = None,
    partition: Partition = None,
) -> None:
    """Write every row as JSON, one per line."""

    async def work() -> None:
        async with opened(module, broker, data) as (found, cluster, existing):
            _table(found, existing, name)
            count = 0
            with written(output) as target:
                for place in _places(found, existing, name, partition):
                    async for row in read(cluster, place):
                        count += 1
                        target.write(_line(row, place) + "\n")
        if output is not None:
            typer.echo(f"{count} rows of {name} are in {output}")

    perform(work)


@app.command("verify")
def verify_tables(
    module: Module,
    names: Annotated[list[str] | None, typer.Argument(metavar="TABLE...", help="Else all.")] = None,
    broker: AppBroker = None,
    data: AppData = None,
    json: Json = False,
) -> None:
    """Compare the stores of this machine with their changelogs; exit status 1 when one differs.

    A store that a worker has open is compared as far as its disk has it.
    """
    bad = unwritten = 0

    async def work() -> None:
        nonlocal bad, unwritten
        async with opened(module, broker, data) as (found, cluster, existing):
            rows = []
            for name in names or sorted(all_tables(found)):
                _table(found, existing, name)
                for place in _places(found, existing, name):
                    for told in await verify(cluster, place):
                        bad += not told.is_good
                        unwritten += told.is_unwritten
                        if told.is_unwritten and not json:
                            continue
                        verdict = told.reason or ("equal" if told.is_good else "DIFFERS")
                        first = None if told.first is None else repr(told.first)
                        rows.append((name, place.changelog.partition, verdict, told.rows,
                                     told.missing, told.extra, told.different, first,
                                     str(told.path)))  # fmt: skip
        columns = ("table", "partition", "verdict", "rows", "missing", "extra", "different",
                   "first", "store")  # fmt: skip
        if rows or json or not unwritten:
            show(columns, rows, as_json=json)
        if unwritten and not json:
            typer.echo(
                f"{unwritten} store{'s have' if unwritten > 1 else ' has'} nothing on disk yet, as"
                " it is while a worker that has just begun runs: what it commits is in the"
                " changelogs, and in its memory. Stop the worker, and verify again"
            )

    perform(work)
    if bad:
        raise typer.Exit(1)


@contextmanager
def written(output: Path | None) -> Iterator[TextIO]:
    """A file to write, else standard output. FlowstreamError when the system refuses."""
    if output is None:
        yield sys.stdout
        return
    try:
        with output.open("w", encoding="utf-8") as target:
            yield target
    except (ConnectionError, TimeoutError):
        raise  # of the cluster, not of the file
    except OSError as error:
        raise FlowstreamError(f"{output} cannot be written: {error.strerror or error}") from None


@asynccontextmanager
async def opened(
    module: str, broker: str | None, data: Path | None
) -> AsyncIterator[tuple[App, Cluster, dict[str, int]]]:
    """The app, its cluster, and the partitions of those of its tables that have a changelog."""
    found = app_of(module, broker, data)
    for agent in found.agents.values():
        await agent.probe()
    async with cluster_of(found) as cluster:
        tables = all_tables(found)
        topics = await Admin(cluster).topics([found.changelog(name) for name in tables])
        there = {
            name: topics[found.changelog(name)].partitions
            for name in tables
            if found.changelog(name) in topics
        }
        yield found, cluster, there


async def read(
    cluster: Cluster,
    place: Place,
    wanted: KeyRows = EVERY,
    *,
    reverse: bool = False,
    limit: int | None = None,
) -> AsyncIterator[Shown]:
    """The committed rows of a partition."""
    part = await look(cluster, place)
    try:
        time_row: Any = part.read(TIME_ROW)
        now_ms = event_time(place.table, None if time_row is DELETED else time_row)
        rows = part.rows({}, wanted.start, wanted.stop, reverse=reverse)
        mine = (each for each in rows if wanted.holds(each[0]))
        for row in islice(_shown(place.table, mine, now_ms), limit):
            yield row
    finally:
        close(part)


def _shown(
    table: Table[Any, Any], rows: Iterator[tuple[bytes, Any]], now_ms: int
) -> Iterator[Shown]:
    for key, row in rows:
        yield from all_shown(table, key, row, now_ms)


def _table(found: App, existing: dict[str, int], name: str) -> Table[Any, Any]:
    tables = all_tables(found)
    if name not in tables:
        known = ", ".join(sorted(tables)) or "none"
        raise FlowstreamError(f"app {found.id!r} has no table {name!r}, only {known}")
    refuse_unknown(existing, name)
    return tables[name]


def _places(
    found: App, existing: dict[str, int], name: str, partition: int | None = None
) -> list[Place]:
    if partition is not None and partition >= existing[name]:
        raise FlowstreamError(f"table {name!r} has partitions 0 to {existing[name] - 1}")
    directory = Path(found.settings.data_dir)
    all_places = places(found.id, {name: existing[name]}, all_tables(found), directory)
    return [p for p in all_places if partition is None or p.changelog.partition == partition]


def _range(
    table: Table[Any, Any], start: str | None, stop: str | None, prefix: str | None
) -> KeyRows:
    first = b"" if table.timer_codecs is None else PREFIX
    if table.keeper is not None:
        if table.keeper.begin is None and (start, stop, prefix) != (None, None, None):
            raise FlowstreamError(
                f"the rows of table {table.name!r} are not in the order of its keys: leave"
                " --start, --stop and --prefix out, or ask for one key with `tables get`"
            )
        first = table.keeper.begin or b""
    if prefix is not None:
        if start is not None or stop is not None:
            raise typer.BadParameter("--prefix goes without --start and --stop")
        keys = table.row_keys
        if first or keys.begin is None or table.window is not None or isinstance(table, MemberRows):
            low = first + typed_bytes(prefix)
            return KeyRows(low, after(low))
        low = keys.begin(parse_prefix(table, prefix))
        return KeyRows(low, keys.stop(low))
    bounds = [None if text is None else rows_of(table, parse_key(table, text)).start
              for text in (start, stop)]  # fmt: skip
    return KeyRows(bounds[0] or b"", bounds[1])


def _line(row: Shown, place: Place) -> str:
    plain = {"partition": place.changelog.partition, **row.plain()}
    return json.dumps(plain, ensure_ascii=False)


def _print(row: Shown, place: Place) -> None:
    typer.echo(_line(row, place))
