"""`flowstream clean-versions`: delete the state of an app's older versions on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from flowstream.cli.apps import AppData, Module, app_of
from flowstream.cli.options import refusing
from flowstream.processing.environment.slots import lock_all


def command(
    module: Module,
    data: AppData = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; without, only tell.")] = False,
) -> None:
    """Delete what workers of older versions, `App(version=...)`, left in the data directory.

    Their topics and offsets stay: `flowstream topics delete`, `flowstream groups delete`.
    """
    with refusing():
        app = app_of(module, None, data)
        for path in app.conf.find_old_versiondirs():
            typer.echo(f"{'delete' if execute else 'would delete'} {path}")
            if execute:
                delete(path)


def delete(path: Path) -> None:
    """Delete a version's state; SlotError when one of its workers still runs."""
    slots = lock_all(path)
    try:
        shutil.rmtree(path)
    finally:
        for slot in slots:
            slot.release()
