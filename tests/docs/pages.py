"""Runs a page of documentation as a reader would: its files written, its commands typed in order.

A block of code whose first line is `# name.py` is that file (`# name.py, continued` adds to it); a
`console` block holds commands after `$ ` and what they print. In what they print `...` stands for
anything. A worker or a broker runs on until `^C` or the end of the page, unless the page shows its
`error:`. Port 9092 stands for whichever port the page's broker got.
"""

from __future__ import annotations

import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDE = ROOT / "docs" / "guide"
PATIENCE_S = 60
READY = {"worker": "agents ", "broker": "ready "}
PROGRAMS = {
    "flowstream": ["-m", "flowstream"],
    "python": [],
    "pytest": ["-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider"],
}


class Block(NamedTuple):
    """A fenced block: its language, its text, and the page's line where it begins."""

    language: str
    text: str
    line: int


class Command(NamedTuple):
    """A command and the lines that the page shows as its output."""

    words: list[str]
    shown: list[str]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(found[1], found[2], text[: found.start()].count("\n") + 1)


def commands(text: str) -> Iterator[Command]:
    """The commands of a console block; `^C` is one too."""
    lines = text.splitlines()
    while lines:
        line = lines.pop(0)
        assert line.startswith(("$ ", "^C")), f"a command begins with '$ ': {line!r}"
        shown = []
        while lines and not lines[0].startswith(("$ ", "^C")):
            shown.append(lines.pop(0))
        yield Command(shlex.split(line.removeprefix("$ ")), shown)


class Running:
    """A worker or broker in the background."""

    def __init__(self, process: subprocess.Popen[str], ready: str) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        while not any(ready in line for line in self.said):
            line = self._lines.get(timeout=PATIENCE_S)
            assert line is not None, "it ended:\n" + "".join(self.said)
            self.said.append(line)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def stop(self) -> int:
        """Ctrl-C, and the exit status."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(PATIENCE_S)
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            self.said.append(line)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


class Reader:
    """Somebody who does what a page says, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: list[Running] = []
        self.ended: list[str] = []
        self._port = "9092"
        self._written: list[Path] = []

    def follow(self, page: Path) -> None:
        """Do it all, then stop what still runs."""
        try:
            for block in blocks(page):
                if block.language == "console":
                    for command in commands(block.text):
                        self.type(command)
                elif block.language:
                    self.write(block)
        finally:
            while self.running:
                assert self.stop() == 0, self.ended[-1]

    def write(self, block: Block) -> None:
        """Write the file that a block is."""
        head, _, rest = block.text.partition("\n")
        found = re.fullmatch(r"# ([\w./]+\.\w+)(, continued)?", head)
        assert found, f"line {block.line}: the block does not name its file: {head!r}"
        path = self.directory / found[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text(encoding="utf-8") if found[2] else ""
        path.write_text(before + rest, encoding="utf-8")
        self._written.append(path)
        self._set_port()

    def _set_port(self) -> None:
        for path in self._written:
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(":9092", f":{self._port}"), encoding="utf-8")

    def type(self, command: Command) -> None:
        """Run a command and compare what it prints."""
        if command.words == ["^C"]:
            assert self.stop() == 0, self.ended[-1]
            said = self.ended[-1].splitlines()
            assert agree(command.shown or ["..."], said), self.ended[-1]
            return
        words = [word.replace(":9092", f":{self._port}") for word in command.words]
        program, *rest = words
        verb = rest[0] if rest else ""
        fails = any(line.startswith("error: ") for line in command.shown)
        arguments = [sys.executable, *PROGRAMS[program], *rest]
        if program == "flowstream" and verb in READY and not fails:
            self._start(arguments, verb, command.shown)
            return
        done = subprocess.run(
            arguments, cwd=self.directory, env=environment(), text=True, timeout=2 * PATIENCE_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) is fails, f"{command.words}: {done.stdout}"
        shown = command.shown or ["..."]
        assert agree(shown, done.stdout.splitlines()), f"{command.words}: {done.stdout}"

    def _start(self, arguments: list[str], verb: str, shown: list[str]) -> None:
        free = [word if word != "9092" else "0" for word in arguments]
        process = subprocess.Popen(
            free, cwd=self.directory, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.running.append(Running(process, READY[verb]))
        said = self.running[-1].said
        if verb == "broker":
            self._port = said[-1].split()[1].rpartition(":")[2]
            self._set_port()
        shown = [line.replace(":9092", f":{self._port}") for line in shown]
        assert agree(["...", *shown, "..."], said), "".join(said)

    def stop(self) -> int:
        """Ctrl-C for what was started last."""
        last = self.running.pop()
        status = last.stop()
        self.ended.append("".join(last.said))
        return status


def agree(shown: list[str], printed: list[str]) -> bool:
    """Whether the printed lines are the shown ones; `...` is anything, alone it is any lines.

    >>> agree(["a ... c", "..."], ["a b c", "d", "e"]), agree(["a"], ["a", "b"])
    (True, False)
    """
    if not shown:
        return not printed
    if shown[0].strip() == "...":
        return any(agree(shown[1:], printed[at:]) for at in range(len(printed) + 1))
    wanted = re.escape(shown[0].rstrip()).replace(r"\.\.\.", ".*")
    return bool(
        printed and re.fullmatch(wanted, printed[0].rstrip()) and agree(shown[1:], printed[1:])
    )


def environment() -> dict[str, str]:
    """Without settings of whoever runs the tests."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FLOWSTREAM_")}
    return {**clean, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
