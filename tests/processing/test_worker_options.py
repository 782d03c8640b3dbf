"""What a worker may be told when it is made, by Faust's names."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from tests.cli.test_worker import SHOUT, environment, flowstream
from tests.processing.conftest import Kit


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, there = logging.getLogger(), Path.cwd()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    os.chdir(there)


def idle(kit: Kit, name: str) -> fs.App:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)

    @app.agent(words)
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    return app


async def test_a_worker_finds_its_broker_in_the_settings(kit: Kit, name: str) -> None:
    started: list[str] = []

    class Telling(fs.Worker):
        async def on_startup_finished(self) -> None:
            started.append(self.app.id)

    sensor = fs.Sensor()
    worker = Telling(idle(kit, name), sensors=[sensor])
    async with worker.running():
        await kit.sees(lambda: started == [name])
    assert worker.sensors == {sensor}
    assert sensor in worker.app.sensors


async def test_a_program_is_told_that_it_starts_no_broker() -> None:
    app = fs.App("shop")
    with pytest.raises(AppError, match="a worker that is run by a program starts no embedded brok"):
        await fs.Worker(app).run()


async def test_a_worker_logs_where_and_what_it_is_told(kit: Kit, name: str, tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    worker = idle(kit, name).Worker(loglevel="INFO", logfile=str(file), workdir=tmp_path)
    async with worker.running():
        assert Path.cwd() == worker.workdir == tmp_path
        logging.getLogger("shop").info("seen")
        logging.getLogger("shop").debug("not seen")
    text = file.read_text()
    assert "INFO    shop: seen" in text
    assert "not seen" not in text


async def test_a_quiet_worker_says_nothing(
    kit: Kit, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = fs.Worker(idle(kit, name), quiet=True)
    async with worker.running():
        logging.getLogger("shop").error("hello")
        print("printed")
    assert capfd.readouterr() == ("printed\n", "")


async def test_what_is_printed_in_a_worker_is_logged(
    kit: Kit, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "worker.log"
    worker = fs.Worker(
        idle(kit, name), logfile=file, redirect_stdouts=True, redirect_stdouts_level="error"
    )
    async with worker.running():
        print("printed")
    assert "ERROR   flowstream.printed: printed" in file.read_text()
    assert "printed" not in capfd.readouterr().out


def test_other_options_are_settings_of_the_app(tmp_path: Path) -> None:
    config: dict[str, Any] = {"root": {"level": "ERROR"}}
    app = fs.App("shop")
    worker = fs.Worker(app, debug=True, blocking_timeout=7.0, logging_config=config)
    assert (worker.settings.debug, worker.settings.stall_warning) == (True, 7.0)
    assert worker.settings.logging_config == config
    before = Path.cwd()
    worker.change_workdir(tmp_path)
    assert before != Path.cwd() == worker.workdir
    with pytest.raises(fs.SettingsError, match="loglevel 'loud' is not debug, info"):
        fs.Worker(fs.App("shop"), loglevel="loud")


def test_a_worker_imports_what_its_app_discovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found_by_worker.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    worker = fs.Worker(fs.App("shop", autodiscover=["found_by_worker"]))
    assert worker.autodiscover() == ["found_by_worker"]


SCRIPT = (
    SHOUT
    + """
if __name__ == "__main__":
    import sys
    fs.Worker(app, loglevel="info", workdir=sys.argv[1]).execute_from_commandline()
"""
)


async def test_V4_a_script_runs_a_worker_as_the_command_line_does(tmp_path: Path) -> None:
    (tmp_path / "shout_app.py").write_text(SCRIPT)
    there = tmp_path / "there"
    there.mkdir()
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "shout_app.py", str(there), cwd=tmp_path, env=environment(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert worker.stdout is not None
    assert worker.stderr is not None
    banner = ""
    async with asyncio.timeout(60):
        while "agents" not in banner:
            line = (await worker.stderr.readline()).decode()
            assert line, banner
            banner += line
        assert f"data       {there}" in banner
        sent = await asyncio.to_thread(flowstream, there, "send", "words", "hello")
        assert sent.returncode == 0, sent.stderr
        assert (await worker.stdout.readline()).decode().split() == ["seen", "hello"]
        worker.send_signal(signal.SIGTERM)
        _, errors = await worker.communicate()
    assert worker.returncode == 0, errors.decode()
    assert b"commits=1" in errors


def test_a_script_ends_with_the_status_of_its_worker(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text(
        "import flowstream as fs\n"
        "fs.App('empty', broker='kafka://127.0.0.1:9').Worker().execute_from_commandline()\n"
    )
    ended = subprocess.run(
        [sys.executable, "empty.py"], cwd=tmp_path, env=environment(), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "error: " in ended.stderr
    assert "no agents" in ended.stderr


def test_fausts_flags_of_the_command_line(tmp_path: Path) -> None:
    body = (
        SHOUT.replace("commit_interval=60)", "commit_interval=60, web_port=0)")
        + """
@app.task
async def tell():
    import asyncio, os, signal
    print(asyncio.get_running_loop().get_debug(), app.settings, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
"""
    )
    (tmp_path / "shout_app.py").write_text(body)
    done = flowstream(
        tmp_path, "--debug", "-A", "shout_app", "--datadir", "data", "worker", "--quiet",
        "--without-web", "--web-bind", "127.0.0.2", "--blocking-timeout", "3.5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told, rest = done.stdout.split(" ", 1)
    assert told == "True"
    for setting in (
        "data_dir='data'", "web_port=None", "web_host='127.0.0.2'", "stall_warning=3.5",
    ):  # fmt: skip
        assert setting in rest


def test_completion_is_printed_for_the_shell(tmp_path: Path) -> None:
    for shell, word in (
        ("bash", "complete -o"),
        ("zsh", "#compdef flowstream"),
        ("fish", "complete"),
    ):
        done = flowstream(tmp_path, "completion", "--shell", shell)
        assert done.returncode == 0
        assert word in done.stdout
    done = flowstream(tmp_path, "completion", "--shell", "tcsh")
    assert done.returncode == 2
    assert "'tcsh' is not bash, zsh, fish" in done.stderr
