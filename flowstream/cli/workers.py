"""`flowstream workers`: who is in an app's group, where, with which tasks, and how far behind."""

from __future__ import annotations

import json as jsonlib
from typing import Any

import typer

from flowstream.cli.lag import Lag, measure, shown_age
from flowstream.cli.naming import AppId, AppModule, only_one, visiting
from flowstream.cli.options import Broker, Data, Json, perform, show
from flowstream.clock import wall_ms
from flowstream.processing.queries.owners import owner_of
from flowstream.transport.types import GroupDescription

COLUMNS = ("worker", "host", "web", "partitions", "lag", "lag_seconds")


def command(
    app_id: AppId = None,
    module: AppModule = None,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show an app's workers: where they are, what they own, and how far behind that is."""
    only_one(app_id, module)

    async def work() -> None:
        async with visiting(app_id, module, broker, data) as (cluster, app):
            group, rows = await measure(cluster, app.id, wall_ms())
        found = workers(group, rows)
        if json:
            typer.echo(jsonlib.dumps({"state": group.state, "workers": found}, indent=2))
            return
        typer.echo(f"{group.group}  {group.state}")
        show(COLUMNS, [[_cell(column, each[column]) for column in COLUMNS] for each in found])

    perform(work)


def workers(group: GroupDescription, rows: list[Lag]) -> list[dict[str, Any]]:
    """A row per member; its lag is the sum over its partitions, in seconds the greatest."""
    found = []
    for member in group.members:
        owner = owner_of(member)
        mine = [row for row in rows if row.member == owner.member]
        found.append(
            {
                "worker": owner.member,
                "host": owner.host,
                "web": owner.address,
                "partitions": [f"{tp.topic}-{tp.partition}" for tp in sorted(member.partitions)],
                "lag": sum(row.records for row in mine),
                "lag_seconds": max((row.seconds or 0.0 for row in mine), default=0.0),
            }
        )
    return found


def _cell(column: str, value: Any) -> object:
    if column == "partitions":
        return by_topic(value)
    return shown_age(value, wall_ms()) if column == "lag_seconds" else value


def by_topic(partitions: list[str]) -> str:
    """Partitions in short, a line per topic, so that a row of many stays in a terminal.

    >>> by_topic(["in-0", "in-1", "in-2", "in-4", "out-0"])
    'in 0-2 4\\nout 0'
    """
    numbers: dict[str, list[int]] = {}
    for name in partitions:
        topic, _, number = name.rpartition("-")
        numbers.setdefault(topic, []).append(int(number))
    return "\n".join(f"{topic} {_runs(sorted(found))}" for topic, found in numbers.items())


def _runs(numbers: list[int]) -> str:
    """Numbers in order, with those in a row by their ends."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return " ".join("-".join(map(str, run)) for run in runs)
