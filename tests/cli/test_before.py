"""Options that stand before a verb, or before a command of the app."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

import flowstream as fs
from flowstream.cli import app as cli
from flowstream.cli.before import FLAGS, VALUED
from flowstream.cli.commands import visiting
from flowstream.processing.declarations.command_classes import Said
from tests.cli.test_app_commands import module, output, run  # noqa: F401 - a fixture
from tests.processing.conftest import address  # noqa: F401 - the broker fixture


def test_options_of_a_worker_may_stand_before_a_command_of_the_app(
    module: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{module}.py").rename(tmp_path / "elsewhere" / f"{module}.py")
    there = ("--datadir", "d", "--workdir", "elsewhere", f"--app={module}", "--logfile", "c.log")
    assert run(*there, "-l", "info", "breaks", "ada").returncode == 1
    assert "INFO    shop: breaks for ada\n" in (tmp_path / "elsewhere" / "c.log").read_text()
    assert output("-A", module, "--workdir=elsewhere", "--json", "of-app", "worker") == (
        "shop-v3 worker\n"
    ), "a word behind a command is its own, also where it is a verb's name"
    for wrong, told in (
        (("--workdir", "nowhere"), "error: --workdir nowhere: No such file"),
        (("--workdir", "elsewhere", "-l", "loud"), "error: loglevel 'loud' is not debug, info"),
    ):
        assert told in run("-A", module, *wrong, "breaks", "ada").stderr
    listed = output("-A", module, "--workdir=elsewhere", "--json", "of-app", "tables")
    assert listed == "shop-v3 tables\n"


def test_json_may_stand_before_a_verb(module: str) -> None:  # noqa: F811
    assert json.loads(output("-A", module, "--json", "tables", "list")) == []
    assert json.loads(output("--json", "-A", module, "models"))[0]["model"] == "Order"


def test_the_options_that_may_stand_before_are_those_that_there_are() -> None:
    """Which of them have a value says where the verb stands."""
    of_commands = typer.Typer()
    of_commands.callback()(visiting(fs.App("shop"), Said()))
    of_commands.command("none")(lambda: None)
    commands: Any = typer.main.get_command(of_commands)
    worker: Any = typer.main.get_command(cli.build(("worker",)))
    params = [*commands.params, *worker.commands["worker"].params]
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for each in params:
        names = {name for name in (*each.opts, *each.secondary_opts) if name.startswith("-")}
        found[each.is_flag if hasattr(each, "is_flag") else False] |= names
    completing = {"--install-completion", "--show-completion"}
    assert found[True] - completing == FLAGS
    assert found[False] - {"-A", "--app"} == VALUED


def test_where_a_verb_stands() -> None:
    assert cli.verb_in(["-A", "m", "worker"]) == 2
    assert cli.verb_in(["-A", "m", "--loglevel", "info", "worker"]) == 4
    assert cli.verb_in(["-A", "m", "fill", "worker"]) is None
    assert cli.verb_in(["-A", "m", "--help"]) is None
    assert cli.verb_in(["-A", "m", "--json", "fill", "topics"]) is None
    assert cli.verb_in(["-A", "m", "--logfile=worker", "-l", "worker", "worker"]) == 5
    assert cli.verb_in(["-A", "m", "--partition", "0", "tail"]) == 4
    assert cli.app_first(["--debug", "--app=m", "fill"]) == ["--app", "m", "--debug", "fill"]
    assert cli.app_first(["send", "--app=m"]) == ["send", "--app=m"]
