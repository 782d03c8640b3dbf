"""The exit statuses of `flowstream worker`, one by one: those that docs/guide/worker.md lists."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_worker import environment, flowstream

AGENT = """
import os
import sys

import flowstream as fs

app = fs.App("exits", commit_interval=60.0)
words = app.topic("words", value_type=str, partitions=1)
seen = app.topic("seen", value_type=str, partitions=1)


@app.agent(words, sink=[seen])
async def shout(stream):
    async for word in stream:
        if word == "end":
            {end}
        yield word.upper()
"""
STARTING = """
import os
import sys

import flowstream as fs

{at_import}
app = fs.App("exits")


@app.agent(app.topic("words", value_type=str, partitions=1))
async def idle(stream):
    {before}
    async for _ in stream:
        pass


@app.task
async def work():
    {task}
"""


@contextlib.contextmanager
def worker(where: Path, text: str) -> Iterator[subprocess.Popen[str]]:
    """A worker of this module on a broker of its own."""
    (where / "exits_app.py").write_text(text, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "flowstream", "worker", "exits_app"], cwd=where, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ended(where: Path, text: str, *words: str) -> tuple[int, str]:
    """How a worker of this module ends that gets these words, and what it says at its end."""
    with worker(where, text) as process:
        assert process.stderr is not None
        if words:
            assert any("agents" in line for line in process.stderr)
            assert flowstream(where, "send", "words", *words).returncode == 0
        _, errors = process.communicate(timeout=30)
        return process.returncode, errors


@pytest.mark.parametrize(
    ("end", "status", "told"),
    [
        ("sys.exit()", 0, "offset 2 called sys.exit()"),
        ("sys.exit(3)", 3, "offset 2 called sys.exit(3)"),
        ("sys.exit(-1)", 255, "offset 2 called sys.exit(-1)"),
        ("sys.exit('enough of it')", 1, "enough of it"),
    ],
)
def test_S9_an_agent_that_exits_leaves_what_is_complete_and_nothing_of_its_event(
    tmp_path: Path, end: str, status: int, told: str
) -> None:
    found, errors = ended(tmp_path, AGENT.format(end=end), "one", "two", "end", "three")
    assert (found, told in errors) == (status, True), errors
    assert "Traceback" not in errors
    # The next one goes on with that very event.
    text = AGENT.format(end="pass").replace("commit_interval=60.0", "commit_interval=0.05")
    with worker(tmp_path, text) as process:
        assert process.stderr is not None
        assert any("agents" in line for line in process.stderr)
        lines = flowstream(tmp_path, "tail", "seen", "-n", "4").stdout.splitlines()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert [json.loads(line)["value"] for line in lines] == ["ONE", "TWO", "END", "THREE"]


def test_S9_an_exit_without_a_word_is_as_a_kill(tmp_path: Path) -> None:
    found, _ = ended(tmp_path, AGENT.format(end="os._exit(255)"), "one", "end")
    assert found == 255


@pytest.mark.parametrize(
    ("where", "what", "status", "told"),
    [
        ("at_import", "sys.exit(4)", 4, ""),
        ("before", "sys.exit(5)", 5, "before it read its stream, called sys.exit(5)"),
        ("task", "sys.exit(6)", 6, "work of the app called sys.exit(6)"),
        ("task", "raise ValueError('of the task')", 1, "ValueError: of the task"),
        ("task", "raise fs.AppError('of the task')", 1, "of the task"),
        ("at_import", "raise ValueError('of the module')", 1, "ValueError: of the module"),
    ],
)
def test_what_the_apps_own_code_ends_a_worker_with(
    tmp_path: Path, where: str, what: str, status: int, told: str
) -> None:
    nothing = dict.fromkeys(("at_import", "before", "task"), "pass")
    found, errors = ended(tmp_path, STARTING.format(**{**nothing, where: what}))
    assert (found, told in errors) == (status, True), errors


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_what_a_signal_ends_a_worker_with(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with worker(tmp_path, AGENT.format(end="pass")) as process:
        assert process.stderr is not None
        assert any("agents" in line for line in process.stderr)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == status


def test_what_cannot_run_and_what_cannot_be_meant(tmp_path: Path) -> None:
    (tmp_path / "exits_app.py").write_text(AGENT.format(end="pass"), encoding="utf-8")
    unreachable = ("worker", "exits_app", "--broker", "kafka://127.0.0.1:1")
    assert flowstream(tmp_path, *unreachable).returncode == 1
    assert flowstream(tmp_path, "worker", "exits_app", "--no-such-option").returncode == 2


@pytest.mark.parametrize("verb", ["worker", "tables"])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(tmp_path: Path, verb: str) -> None:
    (tmp_path / "slow_app.py").write_text("raise KeyboardInterrupt  # as Ctrl-C does here\n")
    words = {"worker": ("worker", "slow_app"), "tables": ("tables", "list", "-A", "slow_app")}[verb]
    done = flowstream(tmp_path, *words)
    assert (done.returncode, "Traceback" in done.stderr) == (130, False), done.stderr
