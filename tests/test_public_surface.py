"""The public names: this list, nothing more and nothing less."""

from __future__ import annotations

import subprocess
import sys

import flowstream

PUBLIC = [
    "Agent", "AgentFailed", "App", "AppCommand", "AppError", "AppExited", "Channel", "Codec",
    "Collect", "Command", "Count", "DecodeError", "Distinct", "Event", "FlowstreamError",
    "GlobalTable", "HoppingWindow", "Joined", "LateEvent", "Max", "Mean", "MemberSet", "Min",
    "Monitor", "NotInAgent", "OAuthCredentials", "Outbox", "OutboxRefused", "PartitionMismatch",
    "Policy", "PostgreSQL", "Query", "QueryError", "QueryTimeout", "Record", "RecordMetadata",
    "Reduce", "ReplyFailed", "RowUnreadable", "SASLCredentials", "SQLite", "SSLCredentials",
    "Schema", "Sensor", "Service", "SetGlobalTable", "SetTable", "Settings", "SettingsError",
    "StateLost", "StatsdMonitor", "Stream", "Sum", "Table", "TableOf", "TableUnavailable",
    "Timers", "TooStale", "Topic", "TopicMissing", "TumblingWindow", "View", "Window",
    "WindowResult", "WindowSet", "WindowedTable", "Worker", "branch", "current_event", "park",
    "retry", "uuid",
]  # fmt: skip


ALIASES = {
    "AgentT": "Agent", "AppT": "App", "ChannelT": "Channel", "EventT": "Event", "Model": "Record",
    "ServiceT": "Service", "StreamT": "Stream", "TableT": "Table", "TopicT": "Topic",
}  # fmt: skip


def test_exports() -> None:
    assert sorted(flowstream.__all__) == sorted([*PUBLIC, *ALIASES])
    for name in PUBLIC:
        assert getattr(flowstream, name).__name__ == name
    assert set(PUBLIC) <= set(dir(flowstream))
    for name, meant in ALIASES.items():
        assert getattr(flowstream, name) is getattr(flowstream, meant)
    assert not hasattr(flowstream, "nothing_of_this_name")


def test_codecs_are_there_without_an_import_of_their_own() -> None:
    code = "import flowstream as fs; print(fs.codecs.dumps('json', [1]))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "b'[1]'"


def test_options_of_commands_are_there_without_an_import_of_their_own() -> None:
    code = "import flowstream as fs, click; print(fs.cli.option is click.option)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


def test_the_package_alone_imports_nothing_heavy() -> None:
    code = "import sys, flowstream; print([m for m in sys.modules if m.startswith('flowstream.')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
