"""`flowstream outbox`: databases that an app's outboxes write, where they do not fit the app."""

from __future__ import annotations

from typing import Annotated

import typer

from flowstream.cli.apps import AppBroker, AppData, Module, app_of, cluster_of
from flowstream.cli.options import perform
from flowstream.processing.declarations.outboxes import Outbox
from flowstream.processing.errors import AppError

app = typer.Typer(help="Databases that outboxes write.", no_args_is_help=True)


@app.callback()
def noun() -> None:
    """Databases that outboxes write."""


@app.command()
def begin(
    name: Annotated[str, typer.Argument(help="The outbox's name.", metavar="OUTBOX")],
    module: Module,
    broker: AppBroker = None,
    data: AppData = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; without, only tell.")] = False,
) -> None:
    """Let an outbox's database go on from where the app is, in the partitions where it is refused.

    For a database that begins anew, one from a backup, or an outbox that is new on a topic which
    the app reads already. Effects of what the app is done with are not made up for: to have all
    events again, give the app an empty database and take it back with `flowstream reset`.
    """

    async def work() -> None:
        found = app_of(module, broker, data)
        outboxes = {a.name: a for a in found.agents.values() if isinstance(a, Outbox)}
        if name not in outboxes:
            known = ", ".join(sorted(outboxes)) or "none"
            raise AppError(f"app {found.id!r} has no outbox {name!r}, only: {known}")
        outbox = outboxes[name]
        async with cluster_of(found) as cluster:
            found.connect_to(cluster.bootstrap)
            try:
                met = await outbox.begin(execute=execute)
            finally:
                await found.close()
        for why in met:
            typer.echo(why)
        if not met:
            typer.echo(f"the database of outbox {name!r} fits the app: nothing to do")
        elif execute:
            typer.echo(f"it goes on from where the app is, in {len(met)} partitions")
        else:
            typer.echo("--execute lets it go on from where the app is; nothing was changed")

    perform(work)
