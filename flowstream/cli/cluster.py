"""`flowstream cluster`: its brokers, features and the quorum that keeps its metadata."""

from __future__ import annotations

import json as json_module
from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, Json, connected, perform, show
from flowstream.transport.nodes import (
    Feature,
    Nodes,
    Quorum,
    describe_nodes,
    describe_quorum,
    features,
)

app = typer.Typer(help="Brokers, features and quorum.", no_args_is_help=True)


@app.callback()
def noun() -> None:
    """Brokers, features and quorum."""


@app.command()
def describe(
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
    quorum: Annotated[bool, typer.Option(help="The metadata quorum too.")] = True,
) -> None:
    """Show the cluster."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            nodes = await describe_nodes(cluster)
            levels = await features(cluster)
            voters = await describe_quorum(cluster) if quorum else None
        (print_json if json else print_tables)(nodes, levels, voters)

    perform(work)


def print_json(nodes: Nodes, levels: list[Feature], quorum: Quorum | None) -> None:
    """All of it as one object."""
    found = {
        "cluster_id": nodes.cluster_id,
        "controller": nodes.controller,
        "brokers": [each._asdict() for each in nodes.brokers],
        "features": [each._asdict() for each in levels],
        "quorum": None
        if quorum is None
        else {
            "leader": quorum.leader,
            "epoch": quorum.epoch,
            "high_watermark": quorum.high_watermark,
            "replicas": [each._asdict() for each in quorum.replicas],
        },
    }
    typer.echo(json_module.dumps(found, indent=2))


def print_tables(nodes: Nodes, levels: list[Feature], quorum: Quorum | None) -> None:
    """Three tables."""
    typer.echo(f"cluster {nodes.cluster_id}  controller {nodes.controller}")
    show(("broker", "host", "port", "rack", "fenced"), nodes.brokers)
    typer.echo("")
    show(("feature", "level", "lowest", "highest"), levels)
    if quorum is not None:
        typer.echo(
            f"\nmetadata quorum: leader {quorum.leader}, epoch {quorum.epoch},"
            f" high watermark {quorum.high_watermark}"
        )
        rows = [
            (each.id, "voter" if each.is_voter else "observer", each.log_end, each.lag)
            for each in quorum.replicas
        ]
        show(("replica", "role", "log_end", "lag"), rows)
