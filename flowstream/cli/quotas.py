"""`flowstream quotas`: bounds on what users, client ids and addresses may use (KIP-546)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, Json, connected, pair, perform, show
from flowstream.transport.configs import alter_quotas, describe_quotas

app = typer.Typer(help="Bounds on what clients may use.", no_args_is_help=True)

DEFAULT = "default"
KEYS = (
    "producer_byte_rate",
    "consumer_byte_rate",
    "request_percentage",
    "controller_mutation_rate",
    "connection_creation_rate",
)

User = Annotated[str | None, typer.Option(help="A user; `default`: those without their own.")]
ClientId = Annotated[
    str | None, typer.Option("--client-id", help="A client id; `default`: those without their own.")
]
Ip = Annotated[str | None, typer.Option(help="An address; `default`: those without their own.")]


def entity_of(user: str | None, client_id: str | None, ip: str | None) -> dict[str, str | None]:
    """Whom the options mean. BadParameter when they cannot mean one entity."""
    if ip is not None and (user is not None or client_id is not None):
        raise typer.BadParameter("--ip stands alone: quotas of addresses know no users and ids")
    named = {"user": user, "client-id": client_id, "ip": ip}
    return {
        kind: None if name == DEFAULT else name for kind, name in named.items() if name is not None
    }


@app.command("list")
def list_quotas(
    user: User = None,
    client_id: ClientId = None,
    ip: Ip = None,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the quotas: all, or those of exactly one entity."""
    entity = entity_of(user, client_id, ip)

    async def work() -> None:
        async with connected(broker, data) as cluster:
            found = await describe_quotas(cluster, entity or None)
        rows = [
            (*(_shown(who, kind) for kind in ("user", "client-id", "ip")), key, value)
            for who, values in found
            for key, value in sorted(values.items())
        ]
        show(("user", "client_id", "ip", "quota", "value"), rows, as_json=json)

    perform(work)


@app.command()
def alter(
    user: User = None,
    client_id: ClientId = None,
    ip: Ip = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="QUOTA=NUMBER", help=f"One of {', '.join(KEYS)}."),
    ] = None,
    delete: Annotated[list[str] | None, typer.Option("--delete", metavar="QUOTA")] = None,
    broker: Broker = None,
    data: Data = None,
) -> None:
    """Set or remove quotas of one entity."""
    entity = entity_of(user, client_id, ip)
    changes: dict[str, float | None] = {**numbers(set_ or ()), **dict.fromkeys(delete or ())}
    if not entity:
        raise typer.BadParameter("whose quotas? Say --user, --client-id or --ip")
    if not changes:
        raise typer.BadParameter("nothing to change: say --set QUOTA=NUMBER or --delete QUOTA")

    async def work() -> None:
        async with connected(broker, data) as cluster:
            await alter_quotas(cluster, entity, changes)
        typer.echo(f"quotas changed: {', '.join(changes)}")

    perform(work)


def numbers(texts: Sequence[str]) -> dict[str, float]:
    """QUOTA=NUMBER pairs."""
    found = {}
    for text in texts:
        key, value = pair(text)
        try:
            found[key] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{text!r}: a number is expected after {key}=") from None
    return found


def _shown(entity: dict[str, str | None], kind: str) -> str | None:
    if kind not in entity:
        return None
    name = entity[kind]
    return "(default)" if name is None else name
