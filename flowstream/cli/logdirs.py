"""`flowstream logdirs`: how much the partitions take up on each broker's disks."""

from __future__ import annotations

from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, Json, connected, perform, show, topics_of
from flowstream.transport.errors import error_name
from flowstream.transport.nodes import log_dirs

app = typer.Typer(help="Sizes of partitions and disks.", no_args_is_help=True)


@app.callback()
def noun() -> None:
    """Sizes of partitions and disks."""


@app.command()
def describe(
    topic: Annotated[
        list[str] | None, typer.Option(help="Only these topics; may be repeated.")
    ] = None,
    broker_id: Annotated[
        list[int] | None, typer.Option("--broker-id", help="Only these brokers.")
    ] = None,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show each broker's directories and what is in them."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            asked = None
            if topic:
                known = await topics_of(cluster, topic)
                asked = {name: found.partitions for name, found in known.items()}
            found = await log_dirs(cluster, asked, broker_id)
        rows = [(each.broker, each.path, *replica) for each in found for replica in each.replicas]
        show(("broker", "directory", "topic", "partition", "bytes", "lag"), rows, as_json=json)
        if json:
            return
        for each in found:
            state = (
                error_name(each.error)
                if each.error
                else disk_text(each.total_bytes, each.usable_bytes)
            )
            typer.echo(f"broker {each.broker} {each.path}: {state}")

    perform(work)


def disk_text(total: int, usable: int) -> str:
    """A disk's sizes in words."""
    if total < 0:
        return "the broker does not tell the disk's size"
    return f"{usable / 1e9:.1f} of {total / 1e9:.1f} GB are free"
