"""Arguments that nobody expects: each is told as what it is, and none ends in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flowstream.cli import lag
from flowstream.cli.app import build
from tests.cli.visiting import call, objects, output


@pytest.fixture(scope="module")
def topic(data: Path) -> str:
    """A topic with two partitions and a record in each."""
    output(data, "topics", "create", "odd", "-p", "2")
    for number in ("0", "1"):
        output(data, "send", "odd", "first", "-p", number)
    return "odd"


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("tail odd --from ² --no-follow", 2, "--from '²': use earliest, latest or an offset"),
        ("tail odd -p -1 --no-follow", 2, "Invalid value for '--partition'"),
        ("tail odd -p 2 --no-follow", 1, "odd has no partition 2, only 2"),
        ("send odd abc --value-type int", 2, "'abc': not a whole number"),
        ("send odd a --timestamp 99999999999999999999", 2, "Invalid value for '--timestamp'"),
        ("topics create new -p 99999999999", 2, "Invalid value for '--partitions'"),
        ("topics create new --replication 99999", 2, "Invalid value for '--replication'"),
        ("topics alter odd -p 99999999999", 2, "Invalid value for '--partitions'"),
        ("transactions list --longer-than nan", 2, "Invalid value for '--longer-than'"),
        ("transactions list --longer-than inf", 2, "Invalid value for '--longer-than'"),
        ("transactions list --producer-id 99999999999999999999", 2, "'--producer-id'"),
        ("transactions find-hanging --topic none", 1, "there is no topic 'none'"),
        ("transactions describe none", 1, "`flowstream transactions list` has all"),
        ("transactions abort none", 1, "`flowstream transactions list` has all"),
        ("configs describe topic none", 1, "`flowstream topics list` has all"),
        ("configs alter topic odd --set retention.ms=9 --delete retention.ms", 2, "named twice"),
        ("configs alter topic odd --set a=1 --set a=2", 2, "a is named twice: which one is meant?"),
        ("topics create new --config a=1 --config a=2", 2, "a is named twice"),
        ("quotas alter --user u --set q=1 --delete q", 2, "q is named twice"),
        ("quotas alter --user u --set q=x", 2, "q=x: a number is expected after q="),
        ("transactions abort none --topic odd", 2, "give the transactional id alone, or all of"),
        ("transactions abort --topic odd --partition 0", 2, "give the transactional id alone, or"),
        ("send odd a -H \udcff=x", 2, "the name of header '\\udcff' is not UTF-8"),
        ("groups reset-offsets g --to-datetime 99999999999999999999", 2, "is no time"),
    ],
)
def test_each_is_told_as_what_it_is(
    data: Path, topic: str, words: str, status: int, told: str
) -> None:
    done = call(data, *words.split())
    said = " ".join(done.stderr.replace("│", " ").split())
    assert (done.exit_code, told in said) == (status, True), done.stderr


def test_bytes_that_are_no_text_are_sent_as_they_are(data: Path, topic: str) -> None:
    odd = b"a\xff".decode("utf-8", "surrogateescape")
    output(data, "send", topic, odd, "-k", odd, "-H", f"h={odd}", "-p", "0")
    result = CliRunner().invoke(
        build(("send",)), ["send", topic, "-p", "0", "--data", str(data)], input=b"b\xff\n"
    )
    assert result.exit_code == 0, result.output
    first, second = objects(output(data, "tail", topic, "-p", "0", "-n", "2", "--no-follow"))
    raw = {"base64": "Yf8="}
    assert (first["key"], first["value"], first["headers"]) == (raw, raw, [["h", raw]])
    assert second["value"] == {"base64": "Yv8="}


def test_the_age_of_a_record_from_before_all_calendars(data: Path) -> None:
    output(data, "topics", "create", "ancient")
    output(data, "send", "ancient", "x", "--timestamp", "-99999999999999")
    output(data, "groups", "reset-offsets", "g", "--topic", "ancient", "--to-earliest", "--execute")
    verbs = build(("lag",))
    told = CliRunner().invoke(verbs, ["lag", "g", "--data", str(data)])
    assert (told.exit_code, "since before 1970" in told.stdout) == (0, True), told.output
    assert lag.shown_age(10.0**12, 0) == "since before 1970"


def test_a_broken_module_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd_module.py").write_text("import flowstream\n\nx = undefined\n")
    verbs = build(("agents", "models", "tables", "lag", "clean-versions"))
    for words in ("agents", "models", "tables list", "lag", "clean-versions"):
        told = CliRunner().invoke(verbs, [*words.split(), "-A", "odd_module"])
        assert told.exit_code == 1
        assert told.stderr.startswith("error: odd_module.py:3: module 'odd_module' cannot be")


def test_offsets_of_a_group_are_found_by_all_who_ask(data: Path, topic: str) -> None:
    output(data, "groups", "reset-offsets", "h", "--topic", topic, "--to-earliest", "--execute")
    verbs = build(("lag", "workers"))
    for words in (("lag", "h"), ("workers", "h")):
        told = CliRunner().invoke(verbs, [*words, "--json", "--data", str(data)])
        assert told.exit_code == 0, told.output
        assert json.loads(told.stdout)
    nobody = CliRunner().invoke(verbs, ["lag", "nobody", "--data", str(data)])
    assert (nobody.exit_code, "there is no group 'nobody'" in nobody.stderr) == (1, True)
