"""`flowstream completion`: what a shell reads to complete our verbs and options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script

PROGRAM = "flowstream"
SHELLS = ("bash", "zsh", "fish")


def command(
    shell: Annotated[
        str | None, typer.Option(help="bash, zsh or fish; without it, that of $SHELL.")
    ] = None,
) -> None:
    """Print what a shell reads to complete verbs: `source <(flowstream completion)`."""
    named = shell or Path(os.environ.get("SHELL", "")).name
    if named not in SHELLS:
        raise typer.BadParameter(f"{named!r} is not {', '.join(SHELLS)}: say --shell")
    variable = f"_{PROGRAM.upper()}_COMPLETE"
    typer.echo(get_completion_script(prog_name=PROGRAM, complete_var=variable, shell=named))
