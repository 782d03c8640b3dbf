"""`flowstream acls`: the access rules of a cluster: who may do what to which topic or group."""

from __future__ import annotations

from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, Json, connected, perform, show
from flowstream.errors import FlowstreamError
from flowstream.transport.access import AccessAdmin, AccessFilter, AccessRule
from flowstream.wire.acl_codes import (
    CLUSTER_NAME,
    Operation,
    PatternType,
    Permission,
    ResourceType,
)

app = typer.Typer(help="List, add and remove access rules.", no_args_is_help=True)

COLUMNS = ("principal", "permission", "operation", "resource", "name", "pattern", "host")

Allow = Annotated[list[str] | None, typer.Option("--allow", help="User:NAME.")]
Deny = Annotated[list[str] | None, typer.Option("--deny", help="User:NAME.")]
Topic = Annotated[list[str] | None, typer.Option("--topic", help="A topic's name, or *.")]
Group = Annotated[list[str] | None, typer.Option("--group", help="A group's name, or *.")]
TransactionalId = Annotated[
    list[str] | None, typer.Option("--transactional-id", help="A transactional id, or *.")
]
Cluster = Annotated[bool, typer.Option("--cluster", help="The cluster itself.")]
Prefixed = Annotated[bool, typer.Option("--prefixed", help="Names are the beginnings of names.")]
Host = Annotated[str | None, typer.Option("--host", help="Only from this address.")]
Operations = Annotated[
    list[str] | None,
    typer.Option("--operation", help="read, write, create, describe, ..., all; may be repeated."),
]


@app.command("list")
def list_rules(
    broker: Broker = None,
    data: Data = None,
    principal: Annotated[str | None, typer.Option("--principal", help="User:NAME.")] = None,
    json: Json = False,
) -> None:
    """List the rules."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            rules = await AccessAdmin(cluster).rules(AccessFilter(principal=principal))
        show(COLUMNS, sorted(row(rule) for rule in rules), as_json=json)

    perform(work)


@app.command()
def add(
    broker: Broker = None,
    data: Data = None,
    allow: Allow = None,
    deny: Deny = None,
    operation: Operations = None,
    topic: Topic = None,
    group: Group = None,
    transactional_id: TransactionalId = None,
    cluster: Cluster = False,
    prefixed: Prefixed = False,
    host: Host = None,
) -> None:
    """Add rules: every principal, operation and resource that is named. Deny wins over allow."""
    principals = allowed_or_denied(allow, deny)
    resources = named(topic, group, transactional_id, cluster)
    operations = [operation_of(each) for each in operation or ()]
    if not (principals and resources and operations):
        raise typer.BadParameter(
            "say who (--allow User:NAME or --deny), what (--operation) and where (--topic, --group,"
            " --transactional-id or --cluster)"
        )
    pattern = PatternType.PREFIXED if prefixed else PatternType.LITERAL
    rules = [
        AccessRule(
            resource,
            name,
            principal,
            number,
            permission,
            PatternType.LITERAL if resource is ResourceType.CLUSTER else pattern,
            host or "*",
        )
        for principal, permission in principals
        for resource, name in resources
        for number in operations
    ]

    async def work() -> None:
        async with connected(broker, data) as found:
            await AccessAdmin(found).add_rules(rules)
        typer.echo(f"added {len(rules)} rule{'s' * (len(rules) != 1)}")

    perform(work)


@app.command()
def remove(
    broker: Broker = None,
    data: Data = None,
    principal: Annotated[
        str | None, typer.Option("--principal", help="User:NAME, in rules of either kind.")
    ] = None,
    allow: Allow = None,
    deny: Deny = None,
    operation: Operations = None,
    topic: Topic = None,
    group: Group = None,
    transactional_id: TransactionalId = None,
    cluster: Cluster = False,
    prefixed: Prefixed = False,
    host: Host = None,
) -> None:
    """Remove the rules that match everything that is said."""
    whose: list[tuple[str | None, Permission | None]] = [*allowed_or_denied(allow, deny)]
    if principal and whose:
        raise typer.BadParameter("--principal is of rules of either kind: say it alone")
    resources = named(topic, group, transactional_id, cluster)
    operations = [operation_of(each) for each in operation or ()]
    if not (principal or whose or resources or operations or host):
        raise typer.BadParameter(
            "say which: --principal, --allow, --deny, --operation, --host or a resource"
        )
    places: list[tuple[ResourceType | None, str | None]] = [*resources] or [(None, None)]
    numbers: list[Operation | None] = [*operations] or [None]
    wanted = [
        AccessFilter(
            resource=resource,
            name=name,
            principal=who,
            permission=permission,
            operation=number,
            pattern=PatternType.PREFIXED if prefixed else None,
            host=host,
        )
        for who, permission in whose or [(principal, None)]
        for resource, name in places
        for number in numbers
    ]

    async def work() -> None:
        async with connected(broker, data) as found:
            removed = sum([await AccessAdmin(found).remove_rules(each) for each in wanted])
        if not removed:
            raise FlowstreamError("no rule matches: see `flowstream acls list`")
        typer.echo(f"removed {removed} rule{'s' * (removed != 1)}")

    perform(work)


def allowed_or_denied(
    allow: list[str] | None, deny: list[str] | None
) -> list[tuple[str, Permission]]:
    """Whom options name, and of which kind of rule."""
    return [(each, Permission.ALLOW) for each in allow or ()] + [
        (each, Permission.DENY) for each in deny or ()
    ]


def named(
    topic: list[str] | None,
    group: list[str] | None,
    transactional_id: list[str] | None,
    cluster: bool,
) -> list[tuple[ResourceType, str]]:
    """The resources that options name."""
    found = [(ResourceType.TOPIC, each) for each in topic or ()]
    found += [(ResourceType.GROUP, each) for each in group or ()]
    found += [(ResourceType.TRANSACTIONAL_ID, each) for each in transactional_id or ()]
    return found + [(ResourceType.CLUSTER, CLUSTER_NAME)] * cluster


def operation_of(text: str) -> Operation:
    """An operation by its name, in any letter case, with dashes or underscores."""
    names = {each.name: each for each in Operation if each >= Operation.ALL}
    found = names.get(text.replace("-", "_").upper())
    if found is None:
        raise typer.BadParameter(f"operation {text!r}: one of {', '.join(names).lower()}")
    return found


def row(rule: AccessRule) -> tuple[str, ...]:
    """A rule as it is shown."""
    return (
        rule.principal,
        Permission(rule.permission).name.lower(),
        Operation(rule.operation).name.lower(),
        ResourceType(rule.resource).name.lower(),
        rule.name,
        PatternType(rule.pattern).name.lower(),
        rule.host,
    )
