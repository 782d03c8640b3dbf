"""`flowstream model`: the fields of one of an app's models."""

from __future__ import annotations

from typing import Annotated

import typer

from flowstream.cli.apps import Module
from flowstream.cli.models import fields_of, models_in
from flowstream.cli.options import Json, show


def command(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Its name.")],
    module: Module,
    json: Json = False,
) -> None:
    """Tell a model's fields, their types and defaults."""
    found = models_in(module)
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        typer.echo(f"error: the app's topics carry no model {name!r}, but {known}", err=True)
        raise typer.Exit(1)
    kind, _ = found[name]
    rows = [
        (field, type_, None if default is None else str(default))
        for field, (type_, default) in fields_of(kind)
    ]
    show(("field", "type", "default"), rows, as_json=json)
