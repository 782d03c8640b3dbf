"""Commands that an app declares, and the verbs that tell what it consists of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flowstream as fs
from flowstream.cli import app as cli
from flowstream.cli import option
from flowstream.cli.agents import row
from flowstream.cli.commands import built
from flowstream.cli.models import models_of, told_of
from flowstream.processing.environment.slots import take_slot
from flowstream.processing.errors import AppError, SettingsError
from tests.processing.conftest import address  # noqa: F401 - the broker fixture

MODULE = '''
"""An app with a command."""
import dataclasses
import logging
import click
import flowstream as fs
from flowstream.cli import argument, option


class Order(fs.Record):
    """What was ordered."""

    account: str
    amount: float = 1.5


@dataclasses.dataclass
class Seen:
    """What was seen."""

    page: str
    times: int = 3


log = logging.getLogger("shop")
app = fs.App("shop", broker="kafka://BROKER", version=3)
orders = app.topic("orders-TAG", value_type=Order, partitions=1)
out = app.topic("out-TAG", key_type=str, value_type=Seen, partitions=1)
plain = app.topic("plain-TAG", value_type=int, partitions=1)


@app.agent(orders, sink=[out], on_error="skip")
async def bill(stream):
    """Bills what was ordered.

    Once a day.
    """
    async for order in stream:
        yield order


@app.command()
async def fill(self, account: str, count: int = 2, loud: bool = False):
    """Send some orders."""
    for number in range(count):
        sent = await orders.send(value=Order(account=account, amount=number))
        self.say(f"{self.app.id} {sent.offset} {'LOUD' if loud else 'quiet'}")


@app.command(
    option("--count", type=click.IntRange(1), default=2, envvar="COUNTED", help="How many."),
    argument("accounts", nargs=-1),
)
async def by_click(self, accounts, count: int):
    """Tells what click made of it."""
    self.say(f"{accounts} {count} {self.app is app}")


@app.command(argument("account"))
async def of_app(app, account):
    print(app.id, account)


@app.command(name="fails", help="Fails.")
async def fail_it():
    raise fs.FlowstreamError("on purpose")


@app.command(argument("account"))
async def breaks(self, account):
    log.info("breaks for %s", account)
    try:
        [].index(account)
    except ValueError as error:
        raise KeyError(account) from error
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> str:  # noqa: F811
    """The name of a module with an app, in the working directory."""
    name = f"shop_{tmp_path.name.replace('-', '_')}"
    text = MODULE.replace("BROKER", address).replace("TAG", name)
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "flowstream", *words],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


def output(*words: str) -> str:
    """What a command prints; it must succeed."""
    done = run(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_command_of_the_app_runs_with_its_options(module: str) -> None:
    output("topics", "create", f"orders-{module}", "-p", "1", "--broker", broker_of(module))
    told = output("-A", module, "fill", "alice", "--count", "3", "--loud")
    assert told.splitlines() == [f"shop-v3 {number} LOUD" for number in range(3)]
    assert output("--app", module, "fill", "bob").splitlines() == ["shop-v3 3 quiet",
                                                                   "shop-v3 4 quiet"]  # fmt: skip
    assert "Send some orders." in output("-A", module, "--help")
    failed = run("-A", module, "fails")
    assert (failed.returncode, failed.stderr) == (1, "error: on purpose\n")
    unknown = run("-A", module, "nothing")
    assert unknown.returncode == 2
    assert "No such command 'nothing'" in unknown.stderr
    assert "there is no module" in run("-A", "no_such_module", "fill").stderr


def test_what_a_command_raises_is_told_by_the_users_lines_alone(module: str) -> None:
    failed = run("-A", module, "breaks", "ada")
    assert failed.returncode == 1
    frames = [line for line in failed.stderr.splitlines() if line.startswith("  File")]
    assert [f'/{module}.py", line ' in frame for frame in frames] == [True, True]
    assert failed.stderr.endswith("\nKeyError: 'ada'\n")


def test_a_topic_that_is_not_there_yet_is_told_with_who_makes_it(module: str) -> None:
    failed = run("-A", module, "fill", "ada")
    assert failed.returncode == 1
    told = f"error: there is no topic 'orders-{module}' yet: a worker of the app makes those that"
    assert failed.stderr.startswith(told)
    assert failed.stderr.count("\n") == 1


def test_a_command_visits_the_broker_that_stands_before_it(module: str, tmp_path: Path) -> None:
    elsewhere = broker_of(module)
    text = (tmp_path / f"{module}.py").read_text()
    (tmp_path / f"{module}.py").write_text(text.replace(elsewhere, "kafka://127.0.0.1:1"))
    output("topics", "create", f"orders-{module}", "-p", "1", "--broker", elsewhere)
    told = output("-A", module, "--broker", elsewhere, "fill", "alice", "--count", "1")
    assert told == "shop-v3 0 quiet\n"
    refused = run("-A", module, "--broker", "http://x", "fill", "alice")
    assert refused.returncode == 1
    assert "http://x" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_command_has_options_as_click_says_them(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert output("-A", module, "by-click", "a", "--count", "3", "b") == "('a', 'b') 3 True\n"
    assert output("-A", module, "of-app", "alice") == "shop-v3 alice\n"
    assert "Tells what click made of it." in output("-A", module, "--help")
    told = output("-A", module, "by-click", "--help")
    assert "--count" in told
    assert "How many." in told
    wrong = run("-A", module, "by-click", "--count", "0")
    assert (wrong.returncode, "0 is not in the range x>=1" in wrong.stderr) == (2, True)
    monkeypatch.setenv("COUNTED", "7")
    assert output("-A", module, "by-click") == "() 7 True\n"


def test_an_option_without_a_parameter_is_refused_before_a_command_runs() -> None:
    app = fs.App("shop")

    async def fill(self: Any, count: int) -> None:
        del self, count

    app.command(option("--counts"))(fill)
    with pytest.raises(AppError, match="what its options give"):
        built(app)
    with pytest.raises(AppError, match=r"app\.command takes options"):
        app.command(option("--count"), print)


def broker_of(module: str) -> str:
    """The broker's URL that a module names."""
    text = Path(f"{module}.py").read_text()
    return text.partition('broker="')[2].partition('"')[0]


def test_agents_models_and_their_fields(module: str) -> None:
    (agent,) = json.loads(output("agents", "-A", module, "--json"))
    assert agent == {
        "agent": "bill", "reads": f"orders-{module}", "sinks": f"out-{module}", "on_error": "skip",
        "help": "Bills what was ordered.",
    }  # fmt: skip
    models = json.loads(output("-A", module, "models", "--json"))
    assert models == [
        {"model": "Order", "topics": f"orders-{module}", "help": "What was ordered."},
        {"model": "Seen", "topics": f"out-{module}", "help": "What was seen."},
    ]
    assert json.loads(output("model", "Order", "-A", module, "--json")) == [
        {"field": "account", "type": "str", "default": None},
        {"field": "amount", "type": "float", "default": "1.5"},
    ]
    assert json.loads(output("model", "Seen", "-A", module, "--json"))[1] == {
        "field": "times", "type": "int", "default": "3",
    }  # fmt: skip
    wrong = run("model", "Nothing", "-A", module)
    assert (wrong.returncode, "but Order, Seen" in wrong.stderr) == (1, True)


def test_a_model_that_says_nothing_of_itself_is_not_told_by_its_base() -> None:
    class Bare(fs.Record):
        amount: int

    assert (told_of(Bare), told_of(fs.Record) is None) == (None, False)


def test_what_a_pattern_is_called_by_the_verbs() -> None:
    class Order(fs.Record):
        """What was ordered."""

        id: int

    app = fs.App("shop", broker="kafka://127.0.0.1:1")

    @app.agent(app.topic(pattern="orders-.*", value_type=Order))
    async def read(stream: fs.Stream[Order]) -> None:
        async for _ in stream:
            pass

    assert row(read)[:2] == ("read", "/orders-.*/")
    assert models_of(app) == {"Order": (Order, {"/orders-.*/"})}


def test_records_of_a_type_and_by_a_codec_are_sent(module: str) -> None:
    to = ("--broker", broker_of(module))
    output("topics", "create", f"out-{module}", "-p", "1", *to)
    send = ("send", f"out-{module}", *to)
    output(*send, '{"account": "a"}', "--value-type", f"{module}:Order", "--repeat", "2")
    output(*send, '{"b":1}', "--value-serializer", "json|base64", "-k", "3", "--key-type", "int")
    output(*send, '"c"', "-k", '"k"', "--key-serializer", "json", "--min-latency", "0.01",
           "--max-latency", "0.02")  # fmt: skip
    found = output("tail", f"out-{module}", *to, "--from", "earliest", "-n", "4")
    records = [json.loads(line) for line in found.splitlines()]
    assert [record["value"] for record in records] == [
        {"account": "a", "amount": 1.5}, {"account": "a", "amount": 1.5}, "eyJiIjoxfQ==", '"c"',
    ]  # fmt: skip
    assert [record["key"] for record in records] == [None, None, "3", '"k"']
    for wrong, why in (
        (('{"amount": "x"}', "--value-type", f"{module}:Order"), "account"),
        (("1", "--value-type", "nothing"), "is not MODULE:TYPE"),
        (("1", "--value-serializer", "pickle"), "is refused"),
        (("1", "--min-latency", "2", "--max-latency", "1"), "is above"),
    ):
        done = run(*send, *wrong)
        assert done.returncode != 0
        assert why in done.stderr


def test_a_worker_logs_to_a_file_in_another_directory(module: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    done = run("worker", "-A", "no_such_module", "--workdir", "elsewhere", "--logfile", "w.log")
    assert done.returncode == 1
    assert "elsewhere" in done.stderr
    assert (tmp_path / "elsewhere" / "w.log").exists()
    assert "No such file" in run("worker", "-A", module, "--workdir", "nowhere").stderr


def test_the_state_of_older_versions_is_deleted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    app = fs.App("shop", version=3, data_dir=data)
    assert (app.id, app.name) == ("shop-v3", "shop")
    assert fs.App("shop", version=2, id_format="{self.version}-{id}").id == "2-shop"
    for wrong in ("{app}", "{0}", "{self.name}", "{id"):
        with pytest.raises(SettingsError, match=r"id_format=.* a text with \{id\} and"):
            fs.App("shop", version=2, id_format=wrong)
    for id in ("shop", "shop-v2", "shop-v3", "shop-v4", "shopping", "other-v1"):
        take_slot(data, id).release()
    assert [path.name for path in app.conf.find_old_versiondirs()] == ["shop", "shop-v2"]
    (tmp_path / "versioned.py").write_text(
        f"import flowstream as fs\napp = fs.App('shop', version=3, data_dir={str(data)!r})\n"
    )
    verbs = cli.build(("clean-versions",))

    def call(*words: str) -> Any:
        return CliRunner().invoke(verbs, ["clean-versions", "-A", "versioned", *words])

    sys.path.insert(0, str(tmp_path))
    try:
        told = call()
        assert told.stdout.splitlines() == [
            f"would delete {data / 'state' / 'shop'}", f"would delete {data / 'state' / 'shop-v2'}",
        ]  # fmt: skip
        held = take_slot(data, "shop-v2")
        assert "a worker of this app is running" in call("--execute").stderr
        held.release()
        assert call("--execute").exit_code == 0
    finally:
        sys.path.remove(str(tmp_path))
    assert sorted(path.name for path in (data / "state").iterdir()) == [
        "other-v1", "shop-v3", "shop-v4", "shopping",
    ]  # fmt: skip


def test_what_cannot_be_a_command_is_refused() -> None:
    app = fs.App("shop")
    with pytest.raises(AppError, match="its options are the function's parameters"):
        app.command(print)
    with pytest.raises(SettingsError, match="whole number from 1 on"):
        fs.App("shop", version=0)

    async def fill() -> None:
        pass

    with pytest.raises(AppError, match="no name of a command"):
        app.command(name="Fill it")(fill)
    app.command(fill)
    with pytest.raises(AppError, match="declared twice"):
        app.command()(fill)
