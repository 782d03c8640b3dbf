"""Where a broker's settings come from, which of two wins, and what is told of a wrong one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from flowstream.broker.config import ConfigError, setting_of
from flowstream.cli.broker import parser
from flowstream.cli.broker_settings import Given, Launch, launch_of
from flowstream.cli.config_files import read_config
from flowstream.cli.kafka_names import from_kafka

DATA = Path(__file__).parents[1] / "data"
PROCESS = {"data"}

SAMPLE = """\
# The settings that Apache Kafka ships for one node, with one host filled in.
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
"""


def launch(*arguments: str, environment: Mapping[str, str] | None = None) -> Launch:
    return launch_of(parser().parse_args(arguments), environment or {})


def file(directory: Path, text: str, name: str = "broker.toml") -> str:
    path = directory / name
    path.write_text(text)
    return str(path)


def test_nothing_given_is_the_defaults() -> None:
    found = launch()
    assert (found.host, found.port, found.durability) == ("127.0.0.1", 9092, "fsync")
    assert (found.data, found.metrics_port) == (Path(".flowstream/broker"), None)
    assert (found.log_level, found.log_format, found.config.num_partitions) == (
        "warning",
        "text",
        1,
    )


def test_command_line_wins_over_set_over_environment_over_file(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        'host = "h-file"\nport = 1\ndurability = "os"\nnum.partitions = 2\nlog.level = "debug"\n',
    )
    environment = {
        "FLOWSTREAM_BROKER_PORT": "2",
        "FLOWSTREAM_BROKER_NUM_PARTITIONS": "3",
        "FLOWSTREAM_BROKER_HOST": "h-env",
        "FLOWSTREAM_DATA_DIR": "not-ours",
    }
    file_only = launch("--config", path)
    assert (file_only.host, file_only.port, file_only.config.num_partitions) == ("h-file", 1, 2)
    with_environment = launch("--config", path, environment=environment)
    assert (with_environment.port, with_environment.config.num_partitions) == (2, 3)
    set_too = ("--config", path, "--set", "num.partitions=4", "--set", "port=3")
    assert launch(*set_too, environment=environment).config.num_partitions == 4
    assert launch(*set_too, environment=environment).port == 3
    all_four = launch(*set_too, "--port", "4", environment=environment)
    assert (all_four.port, all_four.host, all_four.durability) == (4, "h-env", "os")


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    weak, strong = file(tmp_path, "port = 1\n"), file(tmp_path, "port = 2\n", "strong.toml")
    environment = {"FLOWSTREAM_BROKER_CONFIG": weak}
    assert launch(environment=environment).port == 1
    assert launch("--config", strong, environment=environment).port == 2


def test_toml_may_nest_quote_and_list(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        'auto.create.topics.enable = false\n"max.connections" = 7\n[log]\n'
        'cleanup.policy = ["compact", "delete"]\nformat = "json"\n[log.retention]\nms = -1\n',
    )
    found = launch("--config", path)
    assert not found.config.auto_create_topics_enable
    assert found.config.max_connections == 7
    assert found.config.log_cleanup_policy == ("compact", "delete")
    assert (found.log_format, found.config.retention_ms) == ("json", -1)


def test_kafkas_own_sample_file_starts_a_broker(tmp_path: Path) -> None:
    found = launch("--config", file(tmp_path, SAMPLE, "server.properties"))
    assert found.config.listeners == ("PLAINTEXT://127.0.0.1:9092",), "without the controller's"
    assert found.config.advertised_listeners == found.config.listeners
    assert found.data == Path("/tmp/kraft-combined-logs")
    assert (found.config.node_id, found.config.log_retention_hours) == (1, 168)
    assert len(found.notes) == 13, "what changes nothing is told, never taken in silence"
    assert any("num.io.threads changes nothing: one event loop" in note for note in found.notes)


def test_every_setting_of_kafka_is_taken_told_of_or_refused_with_the_remedy() -> None:
    names = (DATA / "kafka-4.3.1-broker-settings.txt").read_text().split()
    told = {name: said_of(name) for name in names}
    assert len(told) == 340
    taken = {name for name, said in told.items() if not said}
    assert len(taken) > 100
    for name in told.keys() - taken:
        assert told[name].startswith(f"server.properties:1: {name}"), told[name]
        assert "changes nothing: " in told[name] or "leave it out" in told[name], told[name]


def said_of(name: str) -> str:
    """The note or the refusal of a setting in a file of Kafka's; empty when it is taken."""
    try:
        found, notes = from_kafka({name: Given("1", "server.properties:1")})
    except ConfigError as error:
        return str(error)
    assert bool(found) != bool(notes)
    assert all(setting_of(each) or each in PROCESS for each in found), found
    return "".join(notes)


def test_what_kafka_would_do_with_a_class_or_a_password_is_not_passed_over(tmp_path: Path) -> None:
    jaas = "listener.name.sasl_ssl.plain.sasl.jaas.config=Module required user_a='hunter2';\n"
    with pytest.raises(ConfigError, match="--users FILE") as caught:
        launch("--config", file(tmp_path, jaas, "server.properties"))
    assert "hunter2" not in str(caught.value)
    found = launch("--config", file(tmp_path, "broker.id=7\nnum.io.threads=8", "old.properties"))
    assert found.config.node_id == 7


@pytest.mark.parametrize("name", ["ssl.key.password", "listener.name.x.ssl.keystore.key"])
def test_X5_a_secret_on_the_command_line_is_warned_of(name: str, tmp_path: Path) -> None:
    note, unused = launch("--set", f"{name}=hunter2").notes
    assert f"{name} secures nothing" in unused
    assert "hunter2" not in unused
    assert f"FLOWSTREAM_BROKER_{name.upper().replace('.', '_')}" in note
    assert "hunter2" not in note
    assert len(launch("--config", file(tmp_path, f'"{name}" = "hunter2"\n')).notes) == 1


SECURED = (
    "listeners=PLAINTEXT://127.0.0.1:1,SSL://127.0.0.1:2,SASL_PLAINTEXT://127.0.0.1:3",
    "ssl.keystore.location=b.pem",
)


@pytest.mark.parametrize(
    ("listeners", "name", "used"),
    [
        ((), "ssl.keystore.location=b.pem", False),
        ((), "ssl.client.auth=required", False),
        ((), "sasl.enabled.mechanisms=PLAIN", False),
        ((), "connections.max.reauth.ms=1000", False),
        ((), "listener.name.ssl.ssl.keystore.location=b.pem", False),
        (("listeners=PLAINTEXT://127.0.0.1:1",), "sasl.enabled.mechanisms=PLAIN", False),
        (SECURED, "sasl.enabled.mechanisms=PLAIN", True),
        (SECURED, "sasl.oauthbearer.expected.issuer=me", False),
        (SECURED, "connections.max.reauth.ms=1000", True),
        (SECURED, "listener.name.plaintext.connections.max.reauth.ms=1000", False),
        (SECURED, "listener.name.sasl_plaintext.connections.max.reauth.ms=1000", True),
        (SECURED, "listener.name.ssl.ssl.enabled.protocols=TLSv1.3", True),
        (SECURED, "listener.name.sasl_plaintext.ssl.enabled.protocols=TLSv1.3", False),
        (SECURED, "ssl.truststore.location=ca.pem", False),
        ((*SECURED, "ssl.client.auth=required"), "ssl.truststore.location=ca.pem", True),
        ((*SECURED, "ssl.truststore.location=ca.pem"), "ssl.client.auth=required", True),
    ],
)
def test_X7_a_setting_that_secures_nothing_is_warned_of(
    listeners: tuple[str, ...], name: str, used: bool
) -> None:
    settings = (*listeners, name)
    notes = launch(*(part for each in settings for part in ("--set", each))).notes
    told = [note for note in notes if name.partition("=")[0] in note]
    assert len(told) == (not used)
    if told:
        assert (
            "secures nothing: no listener uses it, there is only PLAINTEXT (PLAINTEXT)" in told[0]
        )


def test_one_listener_may_have_settings_of_its_own() -> None:
    found = launch("--set", "listener.name.inside.ssl.client.auth=required")
    assert found.config.of_listener == {"INSIDE": {"ssl.client.auth": "required"}}
    variable = "FLOWSTREAM_BROKER_LISTENER_NAME_SASL_SSL_SSL_CLIENT_AUTH"
    found = launch(environment={variable: "required"})
    assert found.config.of_listener == {"SASL_SSL": {"ssl.client.auth": "required"}}
    with pytest.raises(ConfigError, match=r"bad value 'maybe' for setting listener\.name\.inside"):
        launch("--set", "listener.name.inside.ssl.client.auth=maybe")


def test_properties_are_read_as_java_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "odd.properties"
    path.write_text(
        "! comment\n\n  num.partitions : 4\nbroker.rack=a\\\n    b\nkey\\ with\\=signs value\n"
        "tab=a\\tb\nunicode=\\u0041\nempty=\ntwice=1\ntwice=2\n"
    )
    found = read_config(path)
    assert {name: value.text for name, value in found.items()} == {
        "num.partitions": "4",
        "broker.rack": "ab",
        "key with=signs": "value",
        "tab": "a\tb",
        "unicode": "A",
        "empty": "",
        "twice": "2",
    }
    assert found["broker.rack"].origin == f"{path}:4"
    assert found["twice"].origin == f"{path}:11"


@pytest.mark.parametrize(
    ("name", "text", "line", "told"),
    [
        ("a.toml", "# c\nnum.partition = 3\n", 2, "did you mean 'num.partitions'?"),
        ("a.toml", "[num]\n\npartitions = 0\n", 3, "bad value '0' for setting num.partitions"),
        ("a.toml", "port = 70000\n", 1, "a port is a number from 0 to 65535"),
        ("a.toml", 'durability = "maybe"\n', 1, "one of fsync, os is expected"),
        ("a.toml", "num.partitions = 1979-05-27\n", 1, "a text, a number, true, false"),
        ("a.properties", "x=1\n", 1, "unknown setting 'x'"),
        ("a.properties", "\nnum.partitions=no\n", 2, "Not a number of type INT"),
        ("a.properties", "log.dirs=/a,/b\n", 1, "keeps one directory"),
        ("a.properties", "=1\n", 1, "name=value is expected"),
    ],
)
def test_errors_name_file_line_and_remedy(
    tmp_path: Path, name: str, text: str, line: int, told: str
) -> None:
    path = file(tmp_path, text, name)
    with pytest.raises(ConfigError) as caught:
        launch("--config", path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", "num.partitions = \n", "is not valid TOML"),
        ("a.toml", "max.connections = 1\nmax.connections.per.ip = 1\n", "both stand in quotes"),
        ("a.conf", "", "must end with .toml or .properties"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        launch("--config", file(tmp_path, text, name))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        launch("--config", str(tmp_path / "no.toml"))


def test_errors_name_the_variable_and_the_option() -> None:
    with pytest.raises(ConfigError, match=r"^FLOWSTREAM_BROKER_NUM_PARTITION: unknown setting"):
        launch(environment={"FLOWSTREAM_BROKER_NUM_PARTITION": "1"})
    with pytest.raises(ConfigError, match=r"^--set fetch\.max\.bytes: bad value '1'"):
        launch("--set", "fetch.max.bytes=1")
    with pytest.raises(ConfigError, match=r"group\.min\.session\.timeout\.ms=9000000 is above"):
        launch("--set", "group.min.session.timeout.ms=9000000")


def test_log_dirs_of_a_stronger_source_wins_over_data_of_a_weaker_one(tmp_path: Path) -> None:
    path = file(tmp_path, 'data = "weak"\n')
    assert launch("--config", path, "--set", "log.dirs=strong").data == Path("strong")
    told = launch("--set", "log.dirs=a", "--set", "log.dir=b")
    assert told.data == Path("a")
    assert "log.dir changes nothing" in told.notes[0]
