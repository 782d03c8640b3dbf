"""`flowstream broker` as a process: one line when ready, clean ends, clear refusals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from flowstream.cli.broker import BUSY, PORT_TAKEN

COMMAND = (sys.executable, "-m", "flowstream", "broker")


class Started:
    """A broker process and the address that it said."""

    def __init__(
        self,
        *arguments: str,
        pass_fds: tuple[int, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            (*COMMAND, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
            env={**os.environ, **(environment or {})},
        )
        assert self.process.stdout is not None
        word, self.address = self.process.stdout.readline().split()
        assert word == "ready"

    def end(self) -> tuple[int, str, str]:
        """SIGTERM; status, rest of stdout, stderr."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Started]:
    started = Started("--data", str(tmp_path / "data"), "--port", "0")
    yield started
    if started.process.poll() is None:
        started.end()


def refused(*arguments: str, status: int | None = None) -> str:
    """What a broker that does not start says."""
    command = (*COMMAND, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == (status or done.returncode) != 0
    assert done.stdout == ""
    return done.stderr


def test_V4_sigterm_leaves_a_clean_shutdown_mark(running: Started, tmp_path: Path) -> None:
    mark = tmp_path / "data" / ".kafka_cleanshutdown"
    assert not mark.exists()
    assert running.end() == (0, "", "")
    assert mark.exists()


def test_a_hangup_reloads_certificates_and_ends_nothing(tmp_path: Path) -> None:
    keystore = tmp_path / "broker.pem"
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(keystore))
    settings = ("listeners=SSL://localhost:0", f"ssl.keystore.location={keystore}")
    options = [text for each in settings for text in ("--set", each)]
    started = Started("--data", str(tmp_path / "data"), *options)
    started.process.send_signal(signal.SIGHUP)
    assert started.process.stderr is not None
    assert "certificates loaded again" in started.process.stderr.readline()
    status, out, _ = started.end()
    assert (status, out) == (0, "")


def test_D7_a_second_broker_on_the_directory_is_refused(running: Started, tmp_path: Path) -> None:
    said = refused("--data", str(tmp_path / "data"), "--port", "0", status=BUSY)
    assert f"in use by process {running.process.pid} (the broker at {running.address})" in said


def test_a_taken_port_is_named(running: Started, tmp_path: Path) -> None:
    port = running.address.rpartition(":")[2]
    said = refused("--data", str(tmp_path / "other"), "--port", port, status=PORT_TAKEN)
    assert f"port {port} on 127.0.0.1 is taken" in said
    assert "--port" in said


def test_an_ipv6_address_is_told_as_clients_take_it(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    started = Started("--data", str(tmp_path / "data"), "--host", "::1", "--port", "0")
    assert re.fullmatch(r"\[::1\]:\d+", started.address)
    assert started.end()[0] == 0


def test_X7_other_hosts_need_a_word(tmp_path: Path) -> None:
    said = refused("--data", str(tmp_path), "--host", "0.0.0.0", "--port", "0")
    assert "--insecure-open" in said
    open_ = Started("--data", str(tmp_path), "--host", "0.0.0.0", "--port", "0", "--insecure-open")
    assert open_.end()[0] == 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("num.partition=3", "did you mean 'num.partitions'?"),
        ("num.partitions=0", "bad value '0' for setting num.partitions"),
        ("num.partitions", "KEY=VALUE"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, setting: str, said: str) -> None:
    assert said in refused("--data", str(tmp_path / "d"), "--port", "0", "--set", setting)


@pytest.mark.parametrize("port", ["65536", "-1", "x"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    assert f"invalid port value: '{port}'" in refused("--data", str(tmp_path / "d"), "--port", port)


def test_D7_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    assert "precious.txt" in refused("--data", str(tmp_path), "--port", "0")
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_D7_another_cluster_is_refused(running: Started, tmp_path: Path) -> None:
    running.end()
    said = refused("--data", str(tmp_path / "data"), "--port", "0", "--set", "cluster.id=other")
    assert "cluster.id" in said


def test_it_ends_with_its_owner(tmp_path: Path) -> None:
    theirs, ours = os.pipe()
    arguments = ("--data", str(tmp_path / "d"), "--port", "0", "--owner-fd", str(theirs))
    started = Started(*arguments, pass_fds=(theirs,))
    os.close(theirs)
    os.close(ours)
    assert started.process.wait(10) == 0
    started.process.communicate()
    assert (tmp_path / "d" / ".kafka_cleanshutdown").exists()


def test_it_ends_without_a_word_with_an_owner_that_never_heard_of_it(tmp_path: Path) -> None:
    theirs, ours = os.pipe()
    reader, writer = os.pipe()
    os.close(reader)
    command = (*COMMAND, "--data", str(tmp_path / "d"), "--port", "0", "--owner-fd", str(theirs))
    process = subprocess.Popen(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, pass_fds=(theirs,)
    )
    for descriptor in (writer, theirs, ours):
        os.close(descriptor)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, "")


def test_sigterm_with_a_client_that_waits(running: Started) -> None:
    host, _, port = running.address.rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"\0\0\0\x10half")
        assert running.end()[0] == 0


def test_metrics_are_served_when_asked_for_and_logs_may_be_json(tmp_path: Path) -> None:
    started = Started(
        "--data", str(tmp_path / "d"), "--port", "0", "--metrics-port", "0",
        "--log-level", "info", "--log-format", "json",
    )  # fmt: skip
    assert started.process.stderr is not None
    line = json.loads(started.process.stderr.readline())
    assert (line["level"], line["logger"]) == ("info", "flowstream.broker")
    url = line["message"].rpartition(" ")[2]
    with urllib.request.urlopen(url + "health", timeout=5) as answer:
        assert json.load(answer) == {"status": "ok", "reasons": []}
    with urllib.request.urlopen(url + "metrics", timeout=5) as answer:
        assert b"flowstream_broker_healthy 1.0" in answer.read()
    assert started.end()[0] == 0


def test_X7_metrics_for_other_hosts_need_a_word(tmp_path: Path) -> None:
    arguments = ("--data", str(tmp_path), "--port", "0", "--metrics-port", "0")
    assert "--insecure-open" in refused(*arguments, "--metrics-host", "0.0.0.0")


def test_a_taken_metrics_port_is_named(running: Started, tmp_path: Path) -> None:
    port = running.address.rpartition(":")[2]
    arguments = ("--data", str(tmp_path / "other"), "--port", "0", "--metrics-port", port)
    assert "--metrics-port" in refused(*arguments, status=PORT_TAKEN)


def test_every_setting_can_be_listed() -> None:
    command = (*COMMAND, "--list-settings")
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    lines = done.stdout.splitlines()
    assert "durability = fsync  # when a write is acknowledged" in lines
    assert any(line.startswith("num.partitions = 1  # partitions of a topic") for line in lines)


def test_who_reads_only_the_first_settings_ends_the_list_quietly() -> None:
    with subprocess.Popen(
        [*COMMAND, "--list-settings"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert listing.stderr.read() == b""
        assert listing.wait(20) == 0


def test_a_start_without_metrics_does_not_load_their_library() -> None:
    code = (
        "import sys; from flowstream.cli import broker_process, broker_settings;"
        "print([m for m in ('prometheus_client', 'tomllib', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_process_may_open_as_many_files_as_its_hard_limit_allows() -> None:
    code = (
        "import resource as r; hard = r.getrlimit(r.RLIMIT_NOFILE)[1];"
        "r.setrlimit(r.RLIMIT_NOFILE, (256, min(4096, hard) if hard > 0 else 4096));"
        "from flowstream.cli.broker_process import allow_open_files;"
        "from flowstream.broker.storage.disk import open_files;"
        "before = open_files(); allow_open_files();"
        "soft, hard = r.getrlimit(r.RLIMIT_NOFILE);"
        "print(before, soft == hard, open_files() * 2 == soft)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["128", "True", "True"]


def test_a_service_manager_hears_when_it_is_ready(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(10)
        started = Started(
            "--data", str(tmp_path / "d"), "--port", "0", environment={"NOTIFY_SOCKET": str(path)}
        )
        assert notify.recv(100) == b"READY=1"
        assert started.end()[0] == 0
        assert notify.recv(100) == b"STOPPING=1"


def test_X7_what_is_said_twice_is_refused(tmp_path: Path) -> None:
    listeners = ("--set", "listeners=PLAINTEXT://127.0.0.1:0")
    said = refused("--data", str(tmp_path), *listeners, "--port", "0", status=2)
    assert "leave --host and --port out" in said
    open_to_all = ("--set", "listeners=PLAINTEXT://0.0.0.0:0")
    advertised = ("--set", "advertised.listeners=PLAINTEXT://h:1")
    said = refused("--data", str(tmp_path), *open_to_all, *advertised, status=2)
    assert "--insecure-open" in said


def test_X5_what_the_broker_writes_is_its_owners(running: Started, tmp_path: Path) -> None:
    assert running.end()[0] == 0
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "data").rglob("*")}
    assert modes == {0}
