"""The files of `deploy/` say what this broker takes."""

from __future__ import annotations

import shlex
from pathlib import Path

from flowstream.cli.broker import parser
from flowstream.cli.broker_settings import Launch, launch_of

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = (DEPLOY / "flowstream-broker.service").read_text()
CONTAINER = (DEPLOY / "Containerfile").read_text()


def launched(*arguments: str, **environment: str) -> Launch:
    return launch_of(parser().parse_args(arguments), environment)


def test_the_unit_starts_the_broker_of_the_settings_beside_it() -> None:
    (line,) = (line for line in UNIT.splitlines() if line.startswith("ExecStart="))
    program, verb, *arguments = shlex.split(line.removeprefix("ExecStart="))
    assert (Path(program).name, verb) == ("flowstream", "broker")
    assert arguments[:2] == ["--config", "/etc/flowstream/broker.toml"]
    found = launched("--config", str(DEPLOY / "broker.toml"), *arguments[2:])
    assert (found.port, found.durability, found.metrics_port) == (9092, "fsync", 9404)
    assert str(found.data) == "/var/lib/flowstream/broker"
    assert found.notes == ()


def test_the_container_sets_what_there_is() -> None:
    text = CONTAINER.replace("\\\n", " ")
    settings = dict(
        pair.split("=", 1)
        for line in text.splitlines()
        if line.startswith("ENV ")
        for pair in line.split()[1:]
    )
    assert settings.pop("PATH").startswith("/opt/flowstream/bin:")
    found = launched(**settings)
    assert (found.metrics_port, found.log_format) == (9404, "json")
    assert 'ENTRYPOINT ["flowstream", "broker"]' in text
    for line in text.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (DEPLOY.parent / source).exists(), source
