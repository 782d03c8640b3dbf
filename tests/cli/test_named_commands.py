"""Every command that a message or a page names can be given: its verb and its options are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from flowstream.cli.app import VERBS, build

ROOT = Path(__file__).parent.parent.parent
QUOTED = re.compile(r"`flowstream ([^`]+)`")
TYPED = re.compile(r"^ *(?:\$ )?flowstream ([a-z-]+ [^#|<>&\n]*)", re.MULTILINE)
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
SOURCES = sorted((ROOT / "flowstream").rglob("*.py"))


@cache
def line() -> Any:
    """The whole command line."""
    return typer.main.get_command(build(VERBS))


def texts(path: Path) -> Iterator[str]:
    """What a file says to people: a page as it is, of a module its strings."""
    if path.suffix == ".md":
        yield path.read_text(encoding="utf-8")
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else "NAME"
                          for each in node.values)  # fmt: skip


def commands_in(text: str) -> list[str]:
    """What stands behind the name of the program."""
    return [*QUOTED.findall(text), *TYPED.findall(text.replace("\\\n", " "))]


def wrong_in(command: str) -> str | None:
    """What the command line does not know of a command."""
    words = command.replace("...", " ").split()
    if words[0].startswith("-"):
        return None  # a command that an app declares, or an option of the whole
    found: Any = line()
    while words and hasattr(found, "commands"):
        verbs = words.pop(0)
        for verb in verbs.split("|"):  # `tables list|get`
            if verb not in found.commands:
                return f"no verb {verb!r}"
        found = found.commands[verbs.split("|")[0]]
    options = {option for each in found.params for option in (*each.opts, *each.secondary_opts)}
    for word in words:
        asked = word.partition("=")[0].strip("[],()")
        if asked.startswith("-") and not asked[1:2].isdigit() and asked not in {*options, "--help"}:
            return f"no option {asked!r}"
    return None


def test_what_is_wrong_is_found() -> None:
    assert wrong_in("quotas alter --ip default --set connection_creation_rate=N") is None
    assert wrong_in("quotas alter --ip-default") == "no option '--ip-default'"
    assert wrong_in("quota list") == "no verb 'quota'"
    assert wrong_in("tables list|get|show -A MODULE") == "no verb 'show'"


@pytest.mark.parametrize("paths", [SOURCES, PAGES], ids=["messages", "pages"])
def test_commands_that_are_named_are_there(paths: list[Path]) -> None:
    named = [(path, found) for path in paths for text in texts(path) for found in commands_in(text)]
    wrong = [(str(path.relative_to(ROOT)), command, why)
             for path, command in named if (why := wrong_in(command)) is not None]  # fmt: skip
    assert len(named) > 20
    assert not wrong
