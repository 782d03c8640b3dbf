"""Clients in front of a secured broker: TLS, SASL, access rules (X1, X2, X7)."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka import Consumer, KafkaException, Message, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaConsumer, KafkaProducer

from tests.interop.conftest import PASSWORDS, Secured

CASES = [
    ("SSL", ""),
    *[
        (protocol, mechanism)
        for protocol in ("SASL_PLAINTEXT", "SASL_SSL")
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    ],
]


def topic_of(client: str, protocol: str, mechanism: str) -> str:
    return f"{client}-{protocol}-{mechanism or 'certificate'}"


@pytest.mark.parametrize(("protocol", "mechanism"), CASES)
async def test_aiokafka(secured: Secured, protocol: str, mechanism: str) -> None:
    topic = topic_of("aiokafka", protocol, mechanism)
    options = {
        "bootstrap_servers": secured.address(protocol),
        "security_protocol": protocol,
        "ssl_context": secured.context() if "SSL" in protocol else None,
        "sasl_mechanism": mechanism or "PLAIN",
        "sasl_plain_username": "admin",
        "sasl_plain_password": PASSWORDS["admin"],
    }
    producer = AIOKafkaProducer(**options)
    await producer.start()
    for number in range(50):
        await producer.send(topic, b"x" * 20_000 + b"%d" % number)
    await producer.stop()
    consumer = AIOKafkaConsumer(topic, group_id=topic, auto_offset_reset="earliest", **options)
    await consumer.start()
    async with asyncio.timeout(20):
        values = [(await consumer.getone()).value for _ in range(50)]
    await consumer.stop()
    assert values == [b"x" * 20_000 + b"%d" % number for number in range(50)]


@pytest.mark.parametrize(("protocol", "mechanism"), CASES)
def test_confluent(secured: Secured, protocol: str, mechanism: str) -> None:
    topic = topic_of("confluent", protocol, mechanism)
    options = librdkafka(secured, protocol, mechanism)
    producer = Producer({**options, "enable.idempotence": True})
    for number in range(50):
        producer.produce(topic, b"x" * 20_000 + b"%d" % number)
    assert producer.flush(20) == 0
    consumer = Consumer({**options, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    values = [message.value() for _ in range(50) if (message := consumer.poll(20)) is not None]
    consumer.close()
    assert values == [b"x" * 20_000 + b"%d" % number for number in range(50)]


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
@pytest.mark.parametrize(
    ("protocol", "mechanism"), [case for case in CASES if "SCRAM" not in case[1]]
)
def test_kcat(secured: Secured, protocol: str, mechanism: str) -> None:
    """Debian's: its librdkafka 2.0 logs in where SaslHandshake 0 is told. Its SCRAM is refused here
    as by Apache Kafka 4: it sends its nonce twice.
    """
    topic = topic_of("kcat", protocol, mechanism)
    options = librdkafka(secured, protocol, mechanism)
    told = [part for key, value in options.items() for part in ("-X", f"{key}={value}")]

    def kcat(*arguments: str, text: str = "") -> str:
        command = ["kcat", "-t", topic, *told, *arguments]
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    kcat("-P", text="a\nb\n")
    assert kcat("-C", "-o", "beginning", "-e", "-q") == "a\nb\n"


def librdkafka(
    secured: Secured, protocol: str, mechanism: str, user: str = "admin"
) -> dict[str, object]:
    options: dict[str, object] = {
        "bootstrap.servers": secured.address(protocol),
        "security.protocol": protocol,
    }
    if "SSL" in protocol:
        options["ssl.ca.location"] = str(secured.ca)
    if protocol == "SSL":
        options["ssl.certificate.location"] = str(secured.certificate)
        options["ssl.key.location"] = str(secured.certificate)
    if mechanism:
        options["sasl.mechanism"] = mechanism
        options["sasl.username"] = user
        options["sasl.password"] = PASSWORDS[user]
    return options


@pytest.mark.parametrize(("protocol", "mechanism"), CASES)
def test_kafka_python(secured: Secured, protocol: str, mechanism: str) -> None:
    topic = topic_of("kp", protocol, mechanism)
    options = {
        "bootstrap_servers": secured.address(protocol),
        "security_protocol": protocol,
        "ssl_context": secured.context() if "SSL" in protocol else None,
    }
    if mechanism:
        options |= {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": "admin",
            "sasl_plain_password": PASSWORDS["admin"],
        }
    producer = KafkaProducer(**options)
    for number in range(10):
        producer.send(topic, b"%d" % number).get(10)
    producer.close()
    reader = KafkaConsumer(
        topic, auto_offset_reset="earliest", consumer_timeout_ms=10_000, **options
    )
    values = [next(reader).value for _ in range(10)]
    reader.close()
    assert values == [b"%d" % number for number in range(10)]


def test_X2_rules_decide_and_deny_wins(secured: Secured) -> None:
    admin = AdminClient(librdkafka(secured, "SASL_SSL", "SCRAM-SHA-512"))
    mine = {**librdkafka(secured, "SASL_SSL", "SCRAM-SHA-256", "dave")}
    errors: list[object] = []
    producer = Producer({**mine, "message.timeout.ms": 3000})
    producer.produce("ruled-a", b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(20)
    assert errors[0].code() == 29, "TOPIC_AUTHORIZATION_FAILED"

    def rule(name: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
        return AclBinding(
            ResourceType.TOPIC,
            name,
            ResourcePatternType.PREFIXED,
            "User:dave",
            "*",
            operation,
            permission,
        )

    allow, deny = AclPermissionType.ALLOW, AclPermissionType.DENY
    rules = [
        rule("ruled-", AclOperation.ALL, allow),
        rule("ruled-secret", AclOperation.WRITE, deny),
    ]
    for future in admin.create_acls(rules).values():
        future.result(10)
    producer = Producer(mine)
    errors.clear()
    for topic in ("ruled-a", "ruled-secret"):
        producer.produce(topic, b"x", on_delivery=lambda error, _: errors.append(error))
        producer.flush(20)
    assert errors[0] is None
    assert errors[1].code() == 29
    assert set(AdminClient(mine).list_topics(timeout=10).topics) >= {"ruled-a"}
    assert not [t for t in AdminClient(mine).list_topics(timeout=10).topics if "ruled" not in t]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_X7_a_wrong_password_is_refused(secured: Secured, mechanism: str) -> None:
    from aiokafka.errors import KafkaError

    for user in ("admin", "nobody"):
        client = AIOKafkaAdminClient(
            bootstrap_servers=secured.address("SASL_PLAINTEXT"),
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism=mechanism,
            sasl_plain_username=user,
            sasl_plain_password="guess",
        )
        with pytest.raises(KafkaError):
            await client.start()
        await client.close()


async def test_X7_nobody_may_do_nothing(secured: Secured) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=secured.address("PLAINTEXT"))
    await client.start()
    answer = await client.create_topics([NewTopic("nobodys", 1, 1)])
    assert [error[1] for error in answer.topic_errors] == [29]
    await client.close()


def test_X7_without_a_certificate_there_is_no_connection(secured: Secured) -> None:
    options = librdkafka(secured, "SSL", "")
    del options["ssl.certificate.location"], options["ssl.key.location"]
    with pytest.raises(KafkaException):
        AdminClient(options).list_topics(timeout=3)


def test_the_commands_log_in(secured: Secured) -> None:
    environment = {
        **os.environ,
        "FLOWSTREAM_SASL_USERNAME": "admin",
        "FLOWSTREAM_SASL_PASSWORD": PASSWORDS["admin"],
        "FLOWSTREAM_SSL_CAFILE": str(secured.ca),
    }
    url = f"kafka+sasl_ssl://{secured.address('SASL_SSL')}"

    def flowstream(*words: str, text: str | None = None) -> str:
        command = [sys.executable, "-m", "flowstream", *words, "--broker", url]
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    flowstream("topics", "create", "commanded")
    assert "commanded" in flowstream("topics", "list")
    flowstream("users", "create", "carol", text="carols secret\n")
    assert "carol" in flowstream("users", "list")
    flowstream(
        "acls", "add", "--allow", "User:carol", "--operation", "read", "--topic", "commanded"
    )
    rule = ("User:carol", "--operation", "read", "--topic", "commanded")

    def rules() -> list[str]:
        # Other tests have rules of their own on this broker.
        lines = flowstream("acls", "list").splitlines()
        hers = [line for line in lines if "User:carol" in line]
        return sorted("allow" if "allow" in line else "deny" for line in hers)

    flowstream("acls", "add", "--deny", *rule)
    assert rules() == ["allow", "deny"]
    flowstream("acls", "remove", "--deny", *rule)
    assert rules() == ["allow"]
    flowstream("acls", "remove", "--principal", "User:carol")
    assert "User:carol" not in flowstream("acls", "list")
    flowstream("users", "delete", "carol")
    assert "carol" not in flowstream("users", "list")


APP = """
import flowstream as fs

app = fs.App("guarded")
words = app.topic("words", key_type=str, value_type=str, partitions=1)
lengths = app.topic("lengths", key_type=str, value_type=int, partitions=1)
seen = app.Table("seen", key_type=str, value_type=int, default=int)


@app.agent(words, sink=[lengths])
async def measure(stream: fs.Stream[str]):
    async for word in stream:
        seen[word] += 1
        yield len(word)
"""


def first_of(secured: Secured, topic: str) -> Message | None:
    reader = Consumer(
        {
            **librdkafka(secured, "SASL_SSL", "PLAIN"),
            "group.id": f"reads-{topic}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    reader.subscribe([topic])
    message = reader.poll(30)
    reader.close()
    return message


def test_X2_a_worker_with_just_its_permissions(secured: Secured, tmp_path: Path) -> None:
    """The rules that docs/security.md gives for an app are enough for it, and needed."""
    (tmp_path / "guarded.py").write_text(APP.replace(", partitions=1)\nwords", ")\nwords"))
    url = f"kafka+sasl_ssl://{secured.address('SASL_SSL')}"
    common = {**os.environ, "FLOWSTREAM_SSL_CAFILE": str(secured.ca), "FLOWSTREAM_BROKER": url}
    root = Path(__file__).resolve().parents[2]
    common["PYTHONPATH"] = str(root)

    def environment(user: str) -> dict[str, str]:
        secret = PASSWORDS[user]
        return {**common, "FLOWSTREAM_SASL_USERNAME": user, "FLOWSTREAM_SASL_PASSWORD": secret}

    def flowstream(user: str, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flowstream", *words],
            capture_output=True,
            text=True,
            env=environment(user),
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    for topic in ("words", "lengths"):
        flowstream("admin", "topics", "create", topic)
        add = ("acls", "add", "--allow", "User:alice", "--operation")
        flowstream("admin", *add, "read", "--operation", "write", "--topic", topic)
    add = ("acls", "add", "--allow", "User:alice", "--operation", "all", "--prefixed")
    flowstream("admin", *add, "--topic", "guarded-", "--transactional-id", "guarded-")
    add = ("acls", "add", "--allow", "User:alice", "--operation", "read")
    flowstream("admin", *add, "--group", "guarded")
    flowstream("admin", "send", "words", "--key", "k", "four")
    with (tmp_path / "worker.log").open("w") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "flowstream", "worker", "-A", "guarded"],
            env=environment("alice"),
            cwd=tmp_path,
            stderr=log,
        )
    try:
        message = first_of(secured, "lengths")
    finally:
        worker.terminate()
        status = worker.wait(20)
    told = (tmp_path / "worker.log").read_text()
    assert message is not None, told
    assert (message.key(), message.value()) == (b"k", b"4")
    assert status == 0, told
    assert PASSWORDS["alice"] not in told
