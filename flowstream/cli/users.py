"""`flowstream users`: who may log in at a cluster (SCRAM).

A password comes from the terminal or from standard input, never from the command line, where every
user of the machine can read it.
"""

from __future__ import annotations

import getpass
import secrets
import sys
from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, Json, connected, perform, show
from flowstream.errors import FlowstreamError
from flowstream.transport.access import AccessAdmin, Mechanism

app = typer.Typer(help="Create, list and delete users (SCRAM).", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user.")]
SALT_BYTES = 24


@app.command("list")
def list_users(broker: Broker = None, data: Data = None, json: Json = False) -> None:
    """List the users and the mechanisms they can log in with."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            users = await AccessAdmin(cluster).users()
        rows = [
            (user, Mechanism(number).name.replace("_", "-"), iterations)
            for user, mechanisms in sorted(users.items())
            for number, iterations in sorted(mechanisms.items())
        ]
        show(("user", "mechanism", "iterations"), rows, as_json=json)

    perform(work)


@app.command()
def create(name: Name, broker: Broker = None, data: Data = None) -> None:
    """Create a user, or give one a new password, from the terminal or standard input."""

    async def work() -> None:
        password = read_password(name)
        salts = {each: secrets.token_bytes(SALT_BYTES) for each in Mechanism}
        async with connected(broker, data) as cluster:
            await AccessAdmin(cluster).set_password(name, password, salts)
        typer.echo(f"{name} can log in")

    perform(work)


@app.command()
def delete(name: Name, broker: Broker = None, data: Data = None) -> None:
    """Delete a user. Connections that are logged in stay until they end."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            await AccessAdmin(cluster).delete_user(name)
        typer.echo(f"deleted {name}")

    perform(work)


def read_password(name: str) -> str:
    """The password, asked twice on a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"password of {name}: ")
        if getpass.getpass("again: ") != password:
            raise FlowstreamError("the two passwords differ: nothing was changed")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise FlowstreamError("an empty password: nothing was changed")
    return password
