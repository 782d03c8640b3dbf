"""Every verb of Apache Kafka's command line tools that a cluster of one can be asked, of our broker
and, with the same expectations, of a real Kafka: `suites/kafka-tools.script`.

They need java and mvn, as in `test_java`.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.interop.conftest import BrokerProcess
from tests.interop.test_exchange import kafka
from tests.interop.test_java import PEERS, tool

pytestmark = [
    pytest.mark.slow,
    pytest.mark.interop,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("javac") is None or shutil.which("mvn") is None, reason="needs javac and mvn"
    ),
]

HERE = Path(__file__).parent
SETTINGS = (
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found=true",
    "super.users=User:ANONYMOUS",
    "num.partitions=1",
)
KAFKA = "org.apache.kafka.tools."
MAINS = {
    "acls": KAFKA + "AclCommand",
    "api-versions": KAFKA + "BrokerApiVersionsCommand",
    "client-metrics": KAFKA + "ClientMetricsCommand",
    "cluster": KAFKA + "ClusterTool",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": KAFKA + "consumer.ConsoleConsumer",
    "console-producer": KAFKA + "ConsoleProducer",
    "consume-perf": KAFKA + "ConsumerPerformance",
    "delegation-tokens": KAFKA + "DelegationTokenCommand",
    "delete-records": KAFKA + "DeleteRecordsCommand",
    "e2e-latency": KAFKA + "EndToEndLatency",
    "elect": KAFKA + "LeaderElectionCommand",
    "features": KAFKA + "FeatureCommand",
    "groups": KAFKA + "consumer.group.ConsumerGroupCommand",
    "list-groups": KAFKA + "GroupsCommand",
    "log-compaction": KAFKA + "LogCompactionTester",
    "logdirs": KAFKA + "LogDirsCommand",
    "offsets": KAFKA + "GetOffsetShell",
    "produce-perf": KAFKA + "ProducerPerformance",
    "quorum": KAFKA + "MetadataQuorumCommand",
    "reassign": KAFKA + "reassign.ReassignPartitionsCommand",
    "share-consumer": KAFKA + "consumer.ConsoleShareConsumer",
    "share-groups": KAFKA + "consumer.group.ShareGroupCommand",
    "storage": "kafka.tools.StorageTool",
    "streams-groups": KAFKA + "streams.StreamsGroupCommand",
    "streams-reset": KAFKA + "StreamsResetter",
    "topics": KAFKA + "TopicCommand",
    "transactions": KAFKA + "TransactionsCommand",
    "verifiable-consumer": KAFKA + "VerifiableConsumer",
}
PLACE = {"topic": "t", "partition": 0}
FILES: dict[str, object] = {
    "move.json": {"version": 1, "topics": [{"topic": "t"}]},
    "plan.json": {"version": 1, "partitions": [{**PLACE, "replicas": [1]}]},
    "plan-away.json": {"version": 1, "partitions": [{**PLACE, "replicas": [9]}]},
    "delete.json": {"version": 1, "partitions": [{**PLACE, "offset": 1}]},
    "delete-beyond.json": {"version": 1, "partitions": [{**PLACE, "offset": 99_999_999}]},
    "reset.csv": '"t",0,1\n',
    "topic.properties": "retention.bytes=1000000000\n",
    "empty.properties": "",
}


@dataclass
class Step:
    """One command of the script; `ours` is expected of our broker alone."""

    command: str
    stdin: str = ""
    status: int = 0
    both: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)


def script() -> list[Step]:
    steps: list[Step] = []
    path = HERE / "suites" / "kafka-tools.script"
    for line in path.read_text(encoding="utf-8").splitlines():
        mark, _, rest = line.partition(" ")
        match mark:
            case "" | "#":
                continue
            case "<":
                steps[-1].stdin = rest.encode().decode("unicode_escape")
            case ">":
                steps[-1].both.append(rest)
            case "ours>":
                steps[-1].ours.append(rest)
            case "exit":
                steps[-1].status = int(rest)
            case _:
                steps.append(Step(line))
    return steps


@contextmanager
def one_jvm(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A JVM that runs tools; see `apps/Tools.java`."""
    told = subprocess.run(
        [PEERS / "kafka", "install"], capture_output=True, text=True, timeout=400, check=True
    )
    jars, out = f"{told.stdout.strip()}/libs/*", tmp_path / "classes"
    command = ["javac", "-d", str(out), "-cp", jars, str(HERE / "apps" / "Tools.java")]
    subprocess.run(command, check=True, timeout=120)
    logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    running = subprocess.Popen(
        ["java", "-Xmx512m", logging, "-cp", f"{jars}:{out}", "Tools"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def wrongs(jvm: subprocess.Popen[str], step: Step, words: dict[str, str], real: bool) -> list[str]:
    """Run a command; what is not as the script says."""

    def filled(text: str) -> str:
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        return text

    assert jvm.stdin is not None
    assert jvm.stdout is not None
    tool, *arguments = shlex.split(filled(step.command))
    request = {"main": MAINS[tool], "arguments": arguments, "stdin": step.stdin}
    jvm.stdin.write(json.dumps(request) + "\n")
    jvm.stdin.flush()
    answer = json.loads(jvm.stdout.readline())
    if real and step.ours:
        return []  # where the two differ; told in the script
    told = re.sub(r"\s+", " ", answer["output"])
    expected = [filled(text) for text in (*step.both, *step.ours)]
    found = [f"{text!r} is missing" for text in expected if text not in told]
    if answer["status"] != step.status:
        found.append(f"exit status {answer['status']}")
    return [f"{step.command}: {', '.join(found)}: {told[:600]}"] if found else []


@contextmanager
def flowstream(home: Path) -> Iterator[str]:
    settings = tuple(part for each in ("node.id=1", *SETTINGS) for part in ("--set", each))
    running = BrokerProcess(home / "log", settings).start()
    try:
        yield running.address
    finally:
        assert running.stop() == 0


@pytest.mark.parametrize("broker", ["flowstream", "kafka"])
def test_every_verb_answers_as_the_script_says(broker: str, tmp_path: Path) -> None:
    real = broker == "kafka"
    home = tmp_path / "home"
    home.mkdir()
    for name, content in FILES.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
    with kafka(home, *SETTINGS) if real else flowstream(home) as address, one_jvm(tmp_path) as jvm:
        (tmp_path / "server.properties").write_text(
            f"process.roles=broker,controller\nnode.id=1\nlog.dirs={home}/log\n"
            f"controller.quorum.voters=1@{address}\ncontroller.listener.names=CONTROLLER\n"
            f"listeners=PLAINTEXT://{address},CONTROLLER://:0\n",
            encoding="utf-8",
        )
        words = {"{B}": f"--bootstrap-server {address}", "{A}": address, "{D}": str(tmp_path)}
        steps = script()
        found = [wrong for step in steps for wrong in wrongs(jvm, step, words, real)]
    print(f"{broker}: {len(steps) - len(found)} of {len(steps)} commands answer as expected")
    assert found == [], "\n".join(found)


def test_the_verifiable_producer(own_broker: BrokerProcess) -> None:
    """It tells its outcome while its JVM ends, so that it has one of its own."""
    told = tool(
        "run", KAFKA + "VerifiableProducer", "--bootstrap-server", own_broker.address,
        "--topic", "v", "--max-messages", "50", "--value-prefix", "7", "--repeating-keys", "3",
    )  # fmt: skip
    outcome = json.loads(told.strip().splitlines()[-1])
    assert (outcome["sent"], outcome["acked"]) == (50, 50)


def test_L7_the_log_compaction_tester(own_broker: BrokerProcess) -> None:
    """Kafka's own judge of a cleaner: the newest value of each key is there, no deleted key is."""
    settings = ("log.cleaner.backoff.ms=100", "log.cleaner.min.cleanable.ratio=0.01")
    assert own_broker.stop() == 0
    own_broker.options = tuple(part for each in settings for part in ("--set", each))
    own_broker.start()
    told = tool(
        "run", MAINS["log-compaction"], "--bootstrap-server", own_broker.address,
        "--messages", "20000", "--duplicates", "10", "--percent-deletes", "10", "--topics", "2",
        "--sleep", "2",
    )  # fmt: skip
    assert "Data verification is completed" in told
