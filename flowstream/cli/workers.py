"""`flowstream workers`: who is in an app's group, where, with which tasks, and how far behind."""

from __future__ import annotations

import json as jsonlib
from typing import Any

import typer

from flowstream.cli.lag import Lag, measure
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
        show(COLUMNS, [[_cell(each[column]) for column in COLUMNS] for each in found])

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


def _cell(value: object) -> object:
    return ", ".join(value) if isinstance(value, list) else value
