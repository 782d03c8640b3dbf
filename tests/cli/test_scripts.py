"""A script is the command line of its app: `app.main()`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def script(tmp_path: Path, body: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A script of an app, run as `python shop.py WORDS`."""
    (tmp_path / "shop.py").write_text("import flowstream as fs\n" + body)
    return subprocess.run(
        [sys.executable, "shop.py", *words], cwd=tmp_path, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_a_script_is_the_command_line_of_its_app(tmp_path: Path) -> None:
    body = """
shop = fs.App("shop", broker="kafka://127.0.0.1:1")
words = shop.topic("words", value_type=str)
@shop.agent(words)
async def read(stream):
    async for _ in stream:
        print(_)
@shop.command()
async def greet(name: str):
    print(f"hello {name}")
shop.main()
"""
    done = script(tmp_path, body, "agents", "--json")
    assert [each["agent"] for each in json.loads(done.stdout)] == ["read"], done.stderr
    assert script(tmp_path, body, "greet", "ada").stdout == "hello ada\n"
    alone = script(tmp_path, body)
    assert (alone.returncode, alone.stdout) == (1, "")
    assert "no Kafka broker answers at 127.0.0.1:1" in alone.stderr  # a worker was to begin
    for verb in ("topics list", "groups list", "dlq list", "send words 5", "lag", "tail words"):
        asked = script(tmp_path, body, *verb.split())  # verbs of a cluster ask the app's
        assert "no Kafka broker answers at 127.0.0.1:1" in asked.stderr, verb
    other = script(tmp_path, body, "topics", "list", "--broker", "kafka://127.0.0.1:2")
    assert "no Kafka broker answers at 127.0.0.1:2" in other.stderr
    for words, usage in (("greet --help", "greet"), ("tables get --help", "tables get")):
        assert f"Usage: python shop.py {usage} " in script(tmp_path, body, *words.split()).stdout
    nameless = script(tmp_path, "fs.App('shop').main()\n")
    assert "app.main() finds no name of app 'shop' in the script" in nameless.stderr


def test_verbs_of_a_script_log_in_as_its_app_does(tmp_path: Path) -> None:
    body = """
shop = fs.App("shop", broker="kafka+sasl_plaintext://127.0.0.1:1")
@shop.on_configured.connect
def log_in(app, conf):
    conf.sasl_username, conf.sasl_password = "ada", "secret"
if __name__ == "__main__":
    shop.main()
"""
    asked = script(tmp_path, body, "topics", "list")
    assert "no Kafka broker lets us in at 127.0.0.1:1" in asked.stderr
    elsewhere = ("topics", "list", "--broker", "kafka+sasl_plaintext://127.0.0.1:2")
    assert "no Kafka broker lets us in at 127.0.0.1:2" in script(tmp_path, body, *elsewhere).stderr
    told = subprocess.run(
        [sys.executable, "-m", "flowstream", "-A", "shop", "topics", "list"], cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "no Kafka broker lets us in at 127.0.0.1:1" in told.stderr
