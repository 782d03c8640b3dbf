"""Commands of an app as classes, as Faust has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flowstream as fs
from flowstream.cli import option
from flowstream.processing.errors import AppError
from tests.cli.test_app_commands import output, run

CLASSES = """
import flowstream as faust
from flowstream.cli import AppCommand, option

app = faust.App("shop", broker="kafka://127.0.0.1:1")
other = faust.App("other", broker="kafka://127.0.0.1:1")


class Base(AppCommand):
    abstract = True

    async def on_stop(self):
        self.say("stopped")


class fill_up(Base):
    \"\"\"Fills it.\"\"\"

    options = [option("--count", type=int, default=2, help="How many.")]

    async def run(self, count: int, **kwargs):
        self.carp("in debug")
        self.say(f"{self.app.id} {count} {self.kwargs} {isinstance(self, faust.Command)}")
        self.say(self.tabulate([["a", 1], ["bcd", 2]], headers=["name", "n"], title="All"))
        if count > 5:
            raise self.UsageError("that is too much")


@app.command(help="Of the app alone.")
class mine(faust.AppCommand):
    async def run(self, name: str, loud: bool = False):
        if name == "nobody":
            raise self.UsageError("nobody is there")
        print(self.dumps({"name": name, "loud": loud, "quiet": self.quiet}))


@app.command()
class anything(AppCommand):
    async def run(self, *args, **kwargs):
        print(args, kwargs)


@app.command()
async def typed(self: AppCommand):
    print(isinstance(self, AppCommand))


@app.on_configured.connect
def configure(app: faust.App, conf: faust.Settings):
    assert isinstance(conf, faust.Settings) and isinstance(app.conf, faust.Settings)
"""


def test_commands_are_classes_as_in_faust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "classes.py").write_text(CLASSES)
    monkeypatch.chdir(tmp_path)
    table = ["All", "name  n", "a     1", "bcd   2"]
    assert output("-A", "classes:app", "fill-up").splitlines() == [
        "shop 2 {'count': 2} True", *table, "stopped",
    ]  # fmt: skip
    told = output("--debug", "-A", "classes:app", "fill-up", "--count", "3").splitlines()
    assert told[:2] == ["#-- in debug", "shop 3 {'count': 3} True"]
    rows = output("-A", "classes:app", "--json", "fill-up").splitlines()[1]
    assert json.loads(rows) == [{"name": "a", "n": 1}, {"name": "bcd", "n": 2}]
    assert output("-A", "classes:app", "--quiet", "fill-up") == ""
    wrong = run("-A", "classes:app", "fill-up", "--count", "6")
    assert (wrong.returncode, "that is too much" in wrong.stderr) == (2, True)
    assert wrong.stdout.endswith("stopped\n")
    mine = json.loads(output("-A", "classes:app", "-q", "mine", "ada", "--loud"))
    assert mine == {"name": "ada", "loud": True, "quiet": True}
    wrong = run("-A", "classes:app", "mine", "nobody")
    assert (wrong.returncode, wrong.stderr) == (2, "Error: nobody is there\n")
    assert output("-A", "classes:app", "typed") == "True\n"
    assert output("-A", "classes:app", "anything") == "() {}\n"
    assert "Fills it." in output("-A", "classes:app", "--help")
    assert output("-A", "classes:other", "fill-up").startswith("other 2 ")
    assert "No such command 'mine'" in run("-A", "classes:other", "mine", "x").stderr


def test_what_cannot_be_a_command_as_a_class_is_refused() -> None:
    app = fs.App("shop")

    class Called(fs.AppCommand):
        abstract = True

        def __call__(self) -> None: ...

    class Runs(fs.AppCommand):
        abstract = True
        options = (option("--count"),)

        async def run(self, count: str) -> None: ...

    class Stays(Runs):
        abstract = True
        daemon = True

    with pytest.raises(AppError, match=r"'Called' has no `async def run\(self, \.\.\.\)`"):
        app.command()(Called)
    with pytest.raises(AppError, match="daemon = True: a command is over"):
        app.command()(Stays)
    with pytest.raises(AppError, match="has options: leave those"):
        app.command(option("--more"))(Runs)
    app.command(Runs)
    with pytest.raises(AppError, match="declared twice"):
        app.command()(Runs)
