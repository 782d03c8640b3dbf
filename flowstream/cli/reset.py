"""`flowstream reset`: an app to its beginning. Tells what it would do; `--execute` does it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowstream.cli.apps import AppBroker, AppData, Module, app_of, cluster_of
from flowstream.cli.options import perform
from flowstream.processing.operating.resetting import execute_reset, plan_reset
from flowstream.transport.admin import Admin


def command(
    module: Module,
    broker: AppBroker = None,
    data: AppData = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; without, only tell.")] = False,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="Delete the dead letters too.")
    ] = False,
    agent_topics: Annotated[
        bool,
        typer.Option("--agent-topics", help="Delete the topics that agents have of their own."),
    ] = False,
) -> None:
    """Take an app back to its beginning: its offsets, tables and internal topics.

    Its input and output topics stay: it reads the input from the first record that is still there,
    and writes its output again. What agents without a topic were sent, cast or asked is input, too.
    What a crash in between leaves is finished by running it again.
    """

    async def work() -> None:
        app = app_of(module, broker, data)
        directory = Path(app.settings.data_dir)
        async with cluster_of(app) as cluster:
            admin = Admin(cluster)
            reset = await plan_reset(
                app, admin, directory, dead_letters=dead_letters, agent_topics=agent_topics
            )
            if not reset.steps:
                typer.echo(f"{app.id} is at its beginning: nothing to reset")
                return
            if not execute:
                for step in (*reset.steps, *reset.notes):
                    typer.echo(step)
                typer.echo("this is what --execute would do; nothing was changed")
                if reset.running:
                    typer.echo(f"it would be refused now: {reset.running}")
                return
            if not reset.running:
                for step in (*reset.steps, *reset.notes):
                    typer.echo(step)
            await execute_reset(reset, admin)
        typer.echo(
            f"{app.id} is at its beginning. Stores of its workers on other machines, if any, are to"
            f" be deleted there (<data>/state/{app.id})"
        )

    perform(work)
