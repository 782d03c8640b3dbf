"""`flowstream configs`: settings of topics, brokers and groups, where they come from, and changing
them.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, Json, connected, pairs, perform, show
from flowstream.errors import FlowstreamError
from flowstream.transport.configs import (
    Config,
    Kind,
    Resource,
    alter_configs,
    config_resources,
    describe_configs,
)

app = typer.Typer(help="Settings of topics, brokers and groups.", no_args_is_help=True)


class Noun(StrEnum):
    """What can be configured."""

    TOPIC = "topic"
    BROKER = "broker"
    GROUP = "group"
    CLIENT_METRICS = "client-metrics"


What = Annotated[Noun, typer.Argument(help="topic, broker, group or client-metrics.")]
Name = Annotated[
    str | None, typer.Argument(help="Its name; a broker's id. Without one: all brokers.")
]
UNSET = ("default", "broker (static)")


def resource(noun: Noun, name: str | None) -> Resource:
    """The resource that the arguments mean; BadParameter when they mean none."""
    kind = Kind[noun.name]
    if name is None and kind is not Kind.BROKER:
        raise typer.BadParameter(f"which {noun.value}? Name it: `... {noun.value} NAME`")
    if name and kind is Kind.BROKER and not (name.isascii() and name.isdigit()):
        raise typer.BadParameter(f"{name!r} is no broker's id: `flowstream cluster describe`")
    return Resource(kind, name or "")


@app.command("list")
def list_resources(
    noun: Annotated[Noun | None, typer.Argument(help="Only of this kind.")] = None,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List what can be configured."""
    kinds = list(Kind) if noun is None else [Kind[noun.name]]

    async def work() -> None:
        async with connected(broker, data) as cluster:
            found = await config_resources(cluster, kinds)
        rows = [(each.kind.name.lower().replace("_", "-"), each.name) for each in found]
        show(("kind", "name"), rows, as_json=json)

    perform(work)


@app.command()
def describe(
    noun: What,
    name: Name = None,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="Defaults too.")] = False,
    doc: Annotated[bool, typer.Option("--doc", help="What each setting means.")] = False,
) -> None:
    """Show what is set, and where each value comes from."""
    wanted = resource(noun, name)

    async def work() -> None:
        async with connected(broker, data) as cluster:
            configs = await describe_configs(cluster, wanted)
        print_configs(configs, everything=everything, doc=doc, as_json=json)

    perform(work)


@app.command()
def alter(
    noun: What,
    name: Name = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    delete: Annotated[
        list[str] | None, typer.Option("--delete", metavar="KEY", help="Back to the default.")
    ] = None,
    broker: Broker = None,
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only ask if it is allowed.")] = False,
) -> None:
    """Set settings, or take them back to the default."""
    wanted = resource(noun, name)
    changes: dict[str, str | None] = {**pairs(set_, delete), **dict.fromkeys(delete or ())}
    if not changes:
        raise typer.BadParameter("nothing to change: say --set KEY=VALUE or --delete KEY")

    async def work() -> None:
        async with connected(broker, data) as cluster:
            if delete:
                check_known(delete, noun, await describe_configs(cluster, wanted), wanted)
            await alter_configs(cluster, wanted, changes, validate_only=dry_run)
        done = "is allowed" if dry_run else "done"
        typer.echo(f"{noun.value} {name or '(all)'}: {', '.join(changes)}: {done}")

    perform(work)


def check_known(names: list[str], noun: Noun, told: list[Config], wanted: Resource) -> None:
    """Kafka takes away what there never was without a word: a mistyped name would go unnoticed.
    Of all brokers and of client metrics only what is set is told.
    """
    if wanted.kind is Kind.CLIENT_METRICS or (wanted.kind is Kind.BROKER and not wanted.name):
        return
    known = [each.name for each in told]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`configs describe --all` has them"
            raise FlowstreamError(f"{noun.value} {wanted.name!r} has no setting {name!r}; {hint}")


def print_configs(configs: list[Config], *, everything: bool, doc: bool, as_json: bool) -> None:
    """The settings as a table; a secret one shows no value (X5)."""
    columns = ["setting", "value", "source", "read_only"] + ["doc"] * doc
    rows = []
    for config in configs:
        if not everything and config.source in UNSET:
            continue
        value = "(secret)" if config.sensitive and config.value is None else config.value
        row = [config.name, value, config.source, config.read_only]
        rows.append(row + [config.doc if as_json else first_sentence(config.doc)] * doc)
    show(columns, rows, as_json=as_json)
    if not rows and not as_json:
        typer.echo(
            "nothing was changed here; --all shows the defaults and the settings of the start",
            err=True,
        )


def first_sentence(doc: str | None) -> str | None:
    """A documentation's beginning, without the marks that Kafka puts into it for web pages.

    >>> first_sentence("The <i>least</i> number. It counts when...")
    'The least number.'
    """
    if doc is None:
        return None
    return re.split(r"(?<=\.)\s", re.sub(r"</?\w+>", "", doc).strip(), maxsplit=1)[0]
