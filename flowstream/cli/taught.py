"""A verb that argparse parses, told to typer: only so that the shell completes its options."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable

import typer

_FLAGS = (argparse.BooleanOptionalAction, argparse._StoreTrueAction)


def with_options(
    parser: argparse.ArgumentParser, command: Callable[[], None]
) -> Callable[[], None]:
    """`command` with the options of `parser` in its signature; it is called without them."""
    taught = []
    for action in parser._actions:
        if "--help" in action.option_strings or action.help == argparse.SUPPRESS:
            continue
        kind = bool if isinstance(action, _FLAGS) else str
        default = typer.Option(None, *action.option_strings, help=action.help)
        named = inspect.Parameter(
            action.dest, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind | None
        )
        taught.append(named)

    def told(**_: object) -> None:
        command()

    told.__doc__ = command.__doc__
    told.__annotations__ = {each.name: each.annotation for each in taught}
    told.__signature__ = inspect.Signature(taught)  # type: ignore[attr-defined]
    return told
