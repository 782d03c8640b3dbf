"""How the verbs that only need an app's id take it: as it is, or by the module with the app, as the
verbs that need its code do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from flowstream.cli.options import EMBEDDED, connected
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster

AppId = Annotated[str | None, typer.Argument(metavar="APP", help="The app's id.")]
AppModule = Annotated[
    str | None,
    typer.Option(
        "--app",
        "-A",
        metavar="MODULE[:APP]",
        help="The module with the app instead of its id; its settings name the broker.",
    ),
]


class Named(NamedTuple):
    """An app as these verbs see it."""

    id: str
    dead_letters: str
    reads: frozenset[str] = frozenset()
    """Its agents' topics, where its module is known."""
    agents: frozenset[str] | None = None
    """Its agents, where that is known."""


@asynccontextmanager
async def visiting(
    app_id: str | None, module: str | None, broker: str | None, data: Path | None
) -> AsyncIterator[tuple[Cluster, Named]]:
    """The cluster that the options, else the app's settings, mean; and the app."""
    if module is None:
        assert app_id is not None  # by `only_one`
        async with connected(broker, data) as cluster:
            yield cluster, Named(app_id, f"{app_id}-dead-letters")
        return
    # Who gives the id need not wait for these.
    from flowstream.cli.apps import app_of, cluster_of
    from flowstream.processing.duties.matching import matched, patterns_of, read_by_name

    if broker is None and data is not None:
        broker = f"{EMBEDDED}{data}"
    app = app_of(module, broker, data)
    async with cluster_of(app) as cluster:
        reads = read_by_name(app)
        if patterns_of(app):
            reads |= matched(app, await Admin(cluster).topics(None))
        yield cluster, Named(app.id, app.dead_letters, reads, frozenset(app.agents))


def only_one(app_id: str | None, module: str | None) -> None:
    """Refuse a command line that names no app, or two."""
    if (app_id is None) is (module is None):
        raise typer.BadParameter("name the app by its id, or by -A MODULE[:APP]")
