"""Command line: the only place that wires the layers together.

`option` and `argument` are for commands of an app, as in Faust: click's own; `AppCommand` and
`Command` are what runs these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from click import argument as argument
from click import option as option

if TYPE_CHECKING:
    from flowstream.processing.declarations.command_classes import AppCommand as AppCommand
    from flowstream.processing.declarations.command_classes import Command as Command


def __getattr__(name: str) -> Any:
    # On first use: the broker's command line has nothing of the worker's half.
    if name not in ("AppCommand", "Command"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flowstream.processing.declarations import command_classes

    return getattr(command_classes, name)
