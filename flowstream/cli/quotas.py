"""`flowstream quotas`: bounds on what users, client ids and addresses may use (KIP-546)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, Json, connected, pairs, perform, show
from flowstream.transport.configs import alter_quotas, describe_quotas

app = typer.Typer(help="Bounds on what clients may use.", no_args_is_help=True)

KEYS = (
    "producer_byte_rate",
    "consumer_byte_rate",
    "request_percentage",
    "controller_mutation_rate",
    "connection_creation_rate",
)

User = Annotated[str | None, typer.Option(help="A user.")]
ClientId = Annotated[str | None, typer.Option("--client-id", help="A client id.")]
Ip = Annotated[str | None, typer.Option(help="An address.")]
# Kafka's own words; a user may be called `default`, so no name can stand for them.
OtherUsers = Annotated[
    bool, typer.Option("--user-defaults", help="The users without quotas of their own.")
]
OtherClients = Annotated[
    bool, typer.Option("--client-defaults", help="The client ids without quotas of their own.")
]
OtherIps = Annotated[
    bool, typer.Option("--ip-defaults", help="The addresses without quotas of their own.")
]


def entity_of(
    user: str | None,
    client_id: str | None,
    ip: str | None,
    *,
    other_users: bool = False,
    other_clients: bool = False,
    other_ips: bool = False,
) -> dict[str, str | None]:
    """Whom the options mean; None is whoever has no quota of its own. BadParameter when they cannot
    mean one entity.
    """
    entity: dict[str, str | None] = {}
    for kind, name, others, options in (
        ("user", user, other_users, "--user or --user-defaults"),
        ("client-id", client_id, other_clients, "--client-id or --client-defaults"),
        ("ip", ip, other_ips, "--ip or --ip-defaults"),
    ):
        if name is not None and others:
            raise typer.BadParameter(f"one of them: {options}")
        if name is not None or others:
            entity[kind] = name
    if "ip" in entity and len(entity) > 1:
        raise typer.BadParameter("--ip stands alone: quotas of addresses know no users and ids")
    return entity


@app.command("list")
def list_quotas(
    user: User = None,
    client_id: ClientId = None,
    ip: Ip = None,
    user_defaults: OtherUsers = False,
    client_defaults: OtherClients = False,
    ip_defaults: OtherIps = False,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the quotas: all, or those of exactly one entity."""
    entity = entity_of(
        user,
        client_id,
        ip,
        other_users=user_defaults,
        other_clients=client_defaults,
        other_ips=ip_defaults,
    )

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
    user_defaults: OtherUsers = False,
    client_defaults: OtherClients = False,
    ip_defaults: OtherIps = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="QUOTA=NUMBER", help=f"One of {', '.join(KEYS)}."),
    ] = None,
    delete: Annotated[list[str] | None, typer.Option("--delete", metavar="QUOTA")] = None,
    broker: Broker = None,
    data: Data = None,
) -> None:
    """Set or remove quotas of one entity."""
    entity = entity_of(
        user,
        client_id,
        ip,
        other_users=user_defaults,
        other_clients=client_defaults,
        other_ips=ip_defaults,
    )
    given = pairs(set_, delete)
    changes: dict[str, float | None] = {**numbers(given), **dict.fromkeys(delete or ())}
    if not entity:
        raise typer.BadParameter(
            "whose quotas? Say --user, --client-id or --ip, or one of --user-defaults,"
            " --client-defaults, --ip-defaults"
        )
    if not changes:
        raise typer.BadParameter("nothing to change: say --set QUOTA=NUMBER or --delete QUOTA")

    async def work() -> None:
        async with connected(broker, data) as cluster:
            await alter_quotas(cluster, entity, changes)
        typer.echo(f"quotas changed: {', '.join(changes)}")

    perform(work)


def numbers(given: Mapping[str, str]) -> dict[str, float]:
    """The bounds of quotas by name."""
    found = {}
    for key, value in given.items():
        try:
            found[key] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{key}={value}: a number is expected after {key}=") from None
    return found


def _shown(entity: dict[str, str | None], kind: str) -> str | None:
    if kind not in entity:
        return None
    name = entity[kind]
    return "(default)" if name is None else name
