"""The verbs against a running broker."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from flowstream.cli.embedded import read_address, write_address
from tests.cli.visiting import call, objects, output


def test_a_topic_from_birth_to_death(data: Path) -> None:
    output(data, "topics", "create", "born", "-p", "3", "-c", "retention.ms=-1")
    listed = json.loads(output(data, "topics", "list", "--json"))
    assert {"topic": "born", "partitions": 3} in listed
    output(data, "send", "born", "-p", "1", "a", "b")
    found = json.loads(output(data, "topics", "describe", "born", "--json"))
    assert found["partitions"][1] == {"partition": 1, "start": 0, "end": 2}
    assert found["configs"]["retention.ms"] == "-1"
    output(data, "topics", "delete", "born")
    assert "born" not in output(data, "topics", "list")


def test_creating_twice_and_deleting_nothing_are_errors(data: Path) -> None:
    output(data, "topics", "create", "once")
    again = call(data, "topics", "create", "once")
    assert (again.exit_code, "exist" in again.stderr) == (1, True)
    gone = call(data, "topics", "delete", "never")
    assert (gone.exit_code, "never" in gone.stderr) == (1, True)


def test_a_topic_grows_and_loses_its_oldest_records(data: Path) -> None:
    output(data, "topics", "create", "grown")
    output(data, "send", "grown", "a", "b", "c")
    output(data, "topics", "alter", "grown", "-p", "2")
    starts = json.loads(
        output(data, "topics", "delete-records", "grown", "--before", "2", "-p", "0", "--json")
    )
    assert starts == [{"topic": "grown", "partition": 0, "start": 2}]
    assert [row["value"] for row in objects(output(data, "tail", "grown", "--no-follow"))] == ["c"]
    odd = call(data, "topics", "delete-records", "grown", "--before", "soon")
    assert (odd.exit_code, "latest for all records" in odd.stderr) == (2, True)


def test_a_dry_run_tells_what_would_be_allowed_and_changes_nothing(data: Path) -> None:
    told = output(data, "topics", "create", "tried", "-p", "3", "--dry-run")
    assert told == "tried with 3 partitions: is allowed\n"
    assert "tried" not in output(data, "topics", "list")
    odd = call(data, "topics", "create", "tried", "-c", "retention.ms=soon", "--dry-run")
    assert (odd.exit_code, "retention.ms" in odd.stderr) == (1, True)
    output(data, "topics", "create", "tried")
    again = call(data, "topics", "create", "tried", "--dry-run")
    assert (again.exit_code, "exist" in again.stderr) == (1, True)
    told = output(data, "topics", "alter", "tried", "-p", "2", "--dry-run")
    assert told == "tried with 2 partitions: is allowed\n"
    fewer = call(data, "topics", "alter", "tried", "-p", "1", "--dry-run")
    assert fewer.exit_code == 1
    found = json.loads(output(data, "topics", "describe", "tried", "--json"))
    assert len(found["partitions"]) == 1


def test_L8_deleting_beyond_the_end_is_refused_with_the_remedy_before_anything_is(
    data: Path,
) -> None:
    output(data, "topics", "create", "uneven", "-p", "2")
    output(data, "send", "uneven", "-p", "0", *"abcde")
    result = call(data, "topics", "delete-records", "uneven", "--before", "4")
    assert result.exit_code == 1
    assert "(uneven-1 ends at 0): nothing was deleted" in result.stderr
    assert "--before latest" in result.stderr
    found = json.loads(output(data, "topics", "describe", "uneven", "--json"))
    assert [row["start"] for row in found["partitions"]] == [0, 0]


def test_G6_an_offset_that_is_not_there_is_set_with_a_warning(data: Path) -> None:
    output(data, "topics", "create", "short")
    output(data, "send", "short", *"abc")
    output(data, "topics", "delete-records", "short", "--before", "1")
    reset = ("groups", "reset-offsets", "clipped", "--topic", "short", "--json", "--to-offset")
    far = call(data, *reset, "9")
    assert [row["new"] for row in json.loads(far.stdout)] == [3]
    assert "warning: short-0 ends at offset 3, so it is set to that and not to 9" in far.stderr
    low = call(data, *reset, "0")
    assert [row["new"] for row in json.loads(low.stdout)] == [1]
    assert "short-0 begins at offset 1" in low.stderr
    assert call(data, *reset, "2").stderr == ""


def test_G6_offsets_go_back_to_what_json_printed(data: Path, tmp_path: Path) -> None:
    output(data, "topics", "create", "saved", "-p", "2")
    output(data, "send", "saved", "-p", "0", *"abcde")
    reset = ("groups", "reset-offsets", "saver", "--json", "--execute")
    plan, state = tmp_path / "plan.json", tmp_path / "state.json"
    plan.write_text(output(data, *reset, "--to-offset", "3", "--topic", "saved:0"))
    state.write_text(output(data, "groups", "describe", "saver", "--json"))
    output(data, *reset, "--to-latest")
    for saved in (plan, state):
        told = json.loads(output(data, *reset, "--from-file", str(saved)))
        assert [(row["partition"], row["new"]) for row in told] == [(0, 3)]
    for odd in ("[1]", '{"a": 1}', "[", "saved,0"):
        plan.write_text(odd)
        result = call(data, *reset, "--from-file", str(plan))
        assert (result.exit_code, "json" in result.stderr) == (2, True)


def test_G6_a_groups_offsets_move_when_that_is_meant(data: Path) -> None:
    output(data, "topics", "create", "moved", "-p", "2")
    output(data, "send", "moved", "-p", "0", *"abcde")

    def reset(*arguments: str) -> list[object]:
        told = output(data, "groups", "reset-offsets", "mover", *arguments, "--json")
        return [row["new"] for row in json.loads(told)]

    assert reset("--to-latest", "--topic", "moved") == [5, 0]
    nothing = call(data, "groups", "reset-offsets", "mover", "--to-latest")
    assert (nothing.exit_code, "--topic" in nothing.stderr) == (1, True)
    assert reset("--to-latest", "--topic", "moved", "--execute") == [5, 0]
    assert reset("--shift-by", "-2", "--execute") == [3, 0]
    output(data, "groups", "delete-offsets", "mover", "--topic", "moved", "-p", "1")
    shift = ("groups", "reset-offsets", "mover", "--topic", "moved", "--shift-by", "1", "--json")
    told = call(data, *shift)
    assert [(row["partition"], row["new"]) for row in json.loads(told.stdout)] == [(0, 4)]
    assert "nothing is committed of moved-1: nothing is shifted there" in told.stderr
    refused = call(data, *shift[:3], "--topic", "moved:1", "--shift-by", "1")
    assert (refused.exit_code, "--to-offset, --to-earliest" in refused.stderr) == (1, True)
    assert reset("--to-offset", "0", "--topic", "moved:1", "--execute") == [0]
    told = output(data, "groups", "reset-offsets", "mover", "--to-earliest")
    assert "--execute" in told
    found = json.loads(output(data, "groups", "describe", "mover", "--json"))
    assert [row["committed"] for row in found["partitions"]] == [3, 0]
    output(data, "groups", "delete-offsets", "mover", "--topic", "moved", "-p", "1")
    found = json.loads(output(data, "groups", "describe", "mover", "--json"))
    assert [row["partition"] for row in found["partitions"]] == [0]
    output(data, "groups", "delete", "mover")
    assert "mover" not in output(data, "groups", "list")


def test_transactions_and_the_cluster_are_told(data: Path) -> None:
    assert json.loads(output(data, "transactions", "list", "--json")) == []
    unknown = call(data, "transactions", "abort", "nobody")
    assert (unknown.exit_code, "TRANSACTIONAL_ID_NOT_FOUND" in unknown.stderr) == (1, True)
    found = json.loads(output(data, "cluster", "describe", "--no-quorum", "--json"))
    assert [each["id"] for each in found["brokers"]] == [0]
    told = json.loads(output(data, "configs", "describe", "broker", "0", "--all", "--json"))
    assert any(row["setting"] == "num.partitions" for row in told)


def test_settings_that_are_all_defaults_say_how_to_see_them(data: Path) -> None:
    output(data, "topics", "create", "plain")
    assert (
        "--all shows the defaults and" in call(data, "configs", "describe", "topic", "plain").stderr
    )
    as_json = call(data, "configs", "describe", "topic", "plain", "--json")
    assert (json.loads(as_json.stdout), as_json.stderr) == ([], "")


def test_a_setting_that_is_not_there_is_not_taken_back(data: Path) -> None:
    output(data, "topics", "create", "mistyped", "-c", "retention.ms=-1")
    alter = ("configs", "alter", "topic", "mistyped", "--delete")
    wrong = call(data, *alter, "retention.m")
    assert wrong.exit_code == 1
    assert "has no setting 'retention.m'; did you mean 'retention.ms'?" in wrong.stderr
    assert "--all" in call(data, *alter, "nonsense").stderr
    assert "retention.ms" in output(data, "configs", "describe", "topic", "mistyped")
    assert "done" in output(data, *alter, "retention.ms")


def test_groups_are_listed_by_state_and_type(data: Path) -> None:
    output(data, "topics", "create", "listed")
    move = ("groups", "reset-offsets", "of-offsets", "--topic", "listed", "--to-earliest")
    output(data, *move, "--execute")

    def listed(*options: str) -> list[str]:
        rows = json.loads(output(data, "groups", "list", "--json", *options))
        assert all(row["type"] == "classic" for row in rows)
        return [row["group"] for row in rows]

    assert "of-offsets" in listed()
    assert "of-offsets" in listed("--state", "empty", "--state", "Stable", "--type", "classic")
    assert listed("--state", "Stable") == listed("--type", "consumer") == []
    wrong = call(data, "groups", "list", "--state", "Busy")
    assert wrong.exit_code == 2
    assert "Reconciling" in wrong.output


def test_rules_without_an_authorizer_say_how_to_have_one(data: Path) -> None:
    refused = call(data, "acls", "list")
    assert refused.exit_code == 1
    assert "super.users and authorizer.class.name" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("configs", "alter", "topic", "t"), "--set KEY=VALUE"),
        (("configs", "describe", "topic"), "Name it"),
        (("configs", "describe", "broker", "x"), "no broker's id"),
        (("transactions", "abort"), "find-hanging"),
        (
            (
                "transactions",
                "abort",
                "id",
                "--topic",
                "t",
                "--partition",
                "0",
                "--start-offset",
                "1",
            ),
            "find-hanging",
        ),
        (("groups", "reset-offsets", "g"), "say where to, once"),
        (("groups", "reset-offsets", "g", "--to-latest", "--to-earliest"), "say where to, once"),
    ],
)
def test_half_a_command_is_told_what_is_missing(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    result = call(tmp_path, *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("topics del", ["delete", "delete-records"]),
        ("broker --metrics", ["--metrics-port", "--metrics-host"]),
        ("groups reset-offsets --from", ["--from-file"]),
        ("configs describe t", ["topic"]),
    ],
)
def test_the_shell_is_taught_the_verbs(typed: str, completed: list[str]) -> None:
    words = f"flowstream {typed}"
    environment = {**os.environ, "_FLOWSTREAM_COMPLETE": "complete_bash"}
    environment |= {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-m", "flowstream"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.split() == completed


def test_offsets_of_an_app_with_tables_are_not_reset_without_a_word(data: Path) -> None:
    output(data, "topics", "create", "kept-in")
    output(data, "topics", "create", "kept-count-changelog")
    moved = ("groups", "reset-offsets", "kept", "--topic", "kept-in", "--to-earliest")
    result = call(data, *moved)
    assert result.exit_code == 0, result.output
    assert "kept keeps tables (kept-count-changelog)" in result.stderr


def test_what_an_app_made_of_its_inputs_is_not_read_twice_without_a_word(data: Path) -> None:
    between = "halved-by-x-repartition"
    for topic in ("whole", between):
        output(data, "topics", "create", topic)
        output(data, "send", topic, "a", "b")
    reset = ("groups", "reset-offsets", "halved", "--execute")
    output(data, *reset, "--to-latest", "--topic", "whole", "--topic", between)
    told = call(data, "groups", "reset-offsets", "halved", "--to-earliest").stderr
    assert f"{between} hold what halved has made of its inputs" in told
    alone = call(data, "groups", "reset-offsets", "halved", "--to-earliest", "--topic", "whole")
    assert alone.stderr == ""


async def test_the_lag_counts_partitions_that_were_never_read(data: Path) -> None:
    await asyncio.to_thread(output, data, "topics", "create", "untouched", "-p", "2")
    await asyncio.to_thread(output, data, "send", "untouched", "-p", "0", *"abc")
    await asyncio.to_thread(output, data, "send", "untouched", "-p", "1", *"de")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=read_address(data), group_id="reader", enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.subscribe(["untouched"])
        await consumer.getmany(timeout_ms=100)
        await consumer.commit({TopicPartition("untouched", 0): 2})
        told = await asyncio.to_thread(output, data, "groups", "describe", "reader", "--json")
        living = await asyncio.to_thread(call, data, "groups", "delete", "reader")
        read = ("groups", "delete-offsets", "reader", "--topic", "untouched")
        also = await asyncio.to_thread(call, data, *read)
    finally:
        await consumer.stop()
    found = json.loads(told)
    rows = [(row["partition"], row["committed"], row["lag"]) for row in found["partitions"]]
    assert (rows, found["lag"]) == ([(0, 2, 1), (1, None, 2)], 3)
    for refused in (living, also):
        assert refused.exit_code == 1
        assert "has members: stop its workers first" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("tail", "nowhere"), "topics list"),
        (("send", "nowhere", "a"), "flowstream topics create nowhere"),
        (("topics", "describe", "nowhere"), "topics list"),
        (("groups", "describe", "nobody"), "groups list"),
        (("groups", "delete", "nobody"), "groups list"),
    ],
)
def test_what_does_not_exist_is_told_with_the_remedy(
    data: Path, arguments: tuple[str, ...], remedy: str
) -> None:
    result = call(data, *arguments)
    assert (result.exit_code, remedy in result.stderr) == (1, True)


def test_a_broker_that_ended_is_told_with_its_directory(tmp_path: Path) -> None:
    write_address(tmp_path, "127.0.0.1:1")
    result = call(tmp_path, "topics", "list")
    assert result.exit_code == 1
    assert f"the broker of {tmp_path} is not running" in result.stderr
    assert "start a worker there" in result.stderr


def test_no_broker_is_told_with_the_remedy(tmp_path: Path) -> None:
    result = call(tmp_path, "topics", "list")
    assert (result.exit_code, "start a worker" in result.stderr) == (1, True)
