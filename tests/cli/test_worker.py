"""`flowstream worker` as a process: banner, a last commit on SIGTERM, clear errors."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowstream.processing.environment.logs import Sparingly

ROOT = Path(__file__).resolve().parent.parent.parent

SHOUT = """
import flowstream as fs
app = fs.App("shout", commit_interval=60)
words = app.topic("words", key_type=str, value_type=str, partitions=1)
loud = app.topic("loud", value_type=str, partitions=1)
@app.agent(words, sink=[loud])
async def shout(stream):
    async for word in stream:
        print("seen", word, flush=True)
        yield word.upper()
"""


def environment() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FLOWSTREAM_")}
    return {**clean, "PYTHONPATH": str(ROOT)}


def flowstream(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowstream", *words],
        cwd=directory, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def test_V4_an_embedded_worker_runs_and_commits_on_sigterm(tmp_path: Path) -> None:
    (tmp_path / "shout_app.py").write_text(SHOUT)
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flowstream", "-A", "shout_app", "worker",
        cwd=tmp_path, env=environment(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert worker.stdout is not None
    assert worker.stderr is not None
    banner = ""
    async with asyncio.timeout(60):
        while "agents" not in banner:
            banner += (await worker.stderr.readline()).decode()
        assert "exactly_once" in banner
        assert "(embedded)" in banner
        assert "shout <- words" in banner
        sent = await asyncio.to_thread(flowstream, tmp_path, "send", "words", "hello", "world")
        assert sent.returncode == 0, sent.stderr
        for word in ("hello", "world"):
            assert (await worker.stdout.readline()).decode().split() == ["seen", word]
        worker.send_signal(signal.SIGTERM)
        _, errors = await worker.communicate()
    assert worker.returncode == 0, errors.decode()
    assert b"stopped" in errors
    assert b"commits=1" in errors


def test_the_readme_example_runs_as_the_readme_says(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "shop.py").write_text(readme.split("```python\n")[1].split("```")[0])
    commands = [
        shlex.split(line.removeprefix("    $ flowstream "))
        for line in readme.splitlines()
        if line.startswith("    $ flowstream ")
    ]
    assert [words[0] for words in commands] == ["worker", "send", "tail"]
    run, send, tail = commands
    with subprocess.Popen(
        [sys.executable, "-m", "flowstream", *run], cwd=tmp_path, env=environment(),
        stderr=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        try:
            assert worker.stderr is not None
            assert any("agents" in line for line in worker.stderr)
            assert flowstream(tmp_path, *send).returncode == 0
            told = flowstream(tmp_path, *tail, "-n", "1")
        finally:
            worker.terminate()
            worker.communicate(timeout=20)
    assert json.loads(told.stdout)["value"] == {"customer": "ada", "orders": 1, "amount": 9.5}


def test_an_agent_that_raises_is_told_without_our_own_frames(tmp_path: Path) -> None:
    raising = "raise RuntimeError('boom ' + word)"
    body = SHOUT.replace("yield word", f"{raising}\n        yield word")
    (tmp_path / "shout_app.py").write_text(body)
    with subprocess.Popen(
        [sys.executable, "-m", "flowstream", "worker", "shout_app"],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        assert worker.stderr is not None
        assert any("agents" in line for line in worker.stderr)
        assert flowstream(tmp_path, "send", "words", "hello").returncode == 0
        _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 1
    assert "RuntimeError: boom hello" in errors
    assert "error: agent 'shout' on words-0 failed at offset 0: RuntimeError" in errors
    assert "ExceptionGroup" not in errors
    assert "processing/running/instance.py" not in errors


def test_V2_a_partition_that_cannot_be_read_is_in_the_log(tmp_path: Path) -> None:
    code = (
        "import logging; from flowstream.processing.environment.logs import configure_logging\n"
        "configure_logging(logging.INFO)\n"
        "for name in ('aiokafka.consumer.fetcher', 'aiokafka.conn'):\n"
        "    logging.getLogger(name).warning('%s speaks', name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True,
        text=True, timeout=30, check=True,
    )  # fmt: skip
    assert "aiokafka.consumer.fetcher speaks" in done.stderr
    assert "aiokafka.conn speaks" not in done.stderr


def test_a_library_that_repeats_itself_is_heard_once_in_a_while() -> None:
    sparingly = Sparingly("aiokafka", seconds=10)

    def shown(name: str, at: float) -> bool:
        record = logging.makeLogRecord({"name": name})
        record.created = at
        return bool(sparingly.filter(record))

    assert [shown("aiokafka.consumer.fetcher", at) for at in (100, 101, 109, 111)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert not shown("aiokafka", 112)
    assert shown("flowstream.worker", 112)


def test_what_a_library_said_last_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    sparingly = Sparingly("aiokafka", seconds=10)
    shown = []
    for at, text in ((100, "one"), (101, "two"), (102, "three"), (111, "100 %"), (112, "five")):
        record = logging.makeLogRecord({"name": "aiokafka.conn", "msg": text})
        record.created = at
        if sparingly.filter(record):
            shown.append(record.getMessage())
    assert shown == ["one", "100 % (and 2 more before it)"]
    sparingly.flush()
    sparingly.flush()
    assert caplog.messages == ["aiokafka.conn: five"]


def test_a_broker_that_is_away_is_told_of_by_us_and_not_by_the_library_too() -> None:
    sparingly = Sparingly("aiokafka", seconds=10)

    def shown(name: str, level: int, at: float, text: str) -> str | None:
        record = logging.makeLogRecord({"name": name, "levelno": level, "msg": text})
        record.created = at
        return record.levelname if sparingly.filter(record) else None

    away = "Unable to connect to node %s: %s"
    assert shown("aiokafka", logging.ERROR, 100, away) == "WARNING"
    assert shown("flowstream.cluster", logging.WARNING, 109, "no broker can be reached")
    assert shown("aiokafka", logging.ERROR, 111, away) is None
    assert shown("flowstream.cluster", logging.INFO, 115, "something else")
    assert shown("aiokafka", logging.ERROR, 120, "Unexpected error in fetcher routine") is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("worker",), "name the app"),
        (("worker", "-A", "shout_app", "other_app"), "-A shout_app names the app"),
        (("worker", "-A", "nowhere"), "there is no module 'nowhere'"),
        (("worker", "shout_app", "--broker", "kafka://127.0.0.1:1"), "no Kafka broker answers"),
        (("worker", "shout_app", "--broker", "redis://x"), "use kafka://HOST:PORT"),
        (("worker", "shout_app", "-l", "loud"), "is not debug, info"),
        (("worker", "typo_app"), "error: typo_app.py:5: @app.agent takes a topic, not 'words'"),
        (("worker", "wait_app"), "error: wait_app.py:8: take(3) would wait"),
    ],
)
def test_errors_are_one_line_with_the_remedy(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "shout_app.py").write_text(SHOUT)
    (tmp_path / "typo_app.py").write_text(SHOUT.replace("loud = ", "app.agent('words')\nloud = "))
    (tmp_path / "wait_app.py").write_text(SHOUT.replace("in stream:", "in stream.take(3):"))
    done = flowstream(tmp_path, *words)
    assert done.returncode in (1, 2)
    flat = " ".join(done.stderr.replace("│", " ").split())
    assert message in flat, done.stderr
    assert "Traceback" not in done.stderr


PAIR = """
import flowstream as fs
app = fs.App("pair", session_timeout=30.0)
words = app.topic("words", key_type=str, value_type=str, partitions=2)
later = app.Timers("later", key_type=str, value_type=str)
@app.agent(words)
async def read(stream):
    async for word in stream:
        pass
@app.agent(later)
async def remind(stream):
    async for word in stream:
        pass
"""


async def worker_of(directory: Path) -> asyncio.subprocess.Process:
    """A worker that has told its agents."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flowstream", "-A", "pair_app", "worker",
        cwd=directory, env=environment(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await until(worker, "read <- words, remind <- later")
    return worker


async def until(worker: asyncio.subprocess.Process, *texts: str) -> None:
    """Read what it says until it has said one of these."""
    assert worker.stderr is not None
    while line := (await worker.stderr.readline()).decode():
        if any(text in line for text in texts):
            return
    raise AssertionError(f"it ended and never said {texts}")


async def test_V4_the_owner_of_the_broker_stops_when_others_have_its_partitions(
    tmp_path: Path,
) -> None:
    (tmp_path / "pair_app.py").write_text(PAIR)
    async with asyncio.timeout(25):  # less than a session
        owner = await worker_of(tmp_path)
        other = await worker_of(tmp_path)
        try:
            await until(owner, "assigned: words-0, words-1")
            await until(other, "assigned: words-0", "assigned: words-1")
            owner.send_signal(signal.SIGINT)
            await until(other, "assigned: words-0", "assigned: words-1")
            await until(other, "taking over")
            assert await owner.wait() == 0
        finally:
            for each in (owner, other):
                if each.returncode is None:
                    each.send_signal(signal.SIGTERM)
                    await each.wait()
