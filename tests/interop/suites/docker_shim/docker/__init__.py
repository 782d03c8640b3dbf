"""Stands in for the `docker` package in aiokafka's tests: the "container" is a broker that
already runs.

The tests pick free local ports and ask for a container that listens there. Here each of those
ports is forwarded to the broker's
listener of that kind, and what the tests run inside the container is answered on this machine:

- kafka-acls.sh and kafka-configs.sh: the same change through an admin client (the tests give
  ZooKeeper addresses, which no broker has now);
- anything else (the certificates' script): run here, with the container's mounts translated back.

Addresses come from the environment, each HOST:PORT: SUITE_BROKER (plaintext, needed), SUITE_SSL,
SUITE_SASL_PLAIN, SUITE_SASL_SSL.
"""

import itertools
import os
import shlex
import subprocess
import sys
import time

LISTENERS = {  # what the tests call a port -> where the broker listens for that kind
    "ADVERTISED_PORT": "SUITE_BROKER",
    "ADVERTISED_SSL_PORT": "SUITE_SSL",
    "ADVERTISED_SASL_PLAINTEXT_PORT": "SUITE_SASL_PLAIN",
    "ADVERTISED_SASL_SSL_PORT": "SUITE_SASL_SSL",
}


class Container:
    def __init__(self, environment=None, volumes=None, working_dir=None, **_):
        self.mounts = {mount["bind"]: path for path, mount in (volumes or {}).items()}
        self.mounts = {inside: str(path) for inside, path in self.mounts.items()}
        self.cwd = self.mounts.get(working_dir)
        pairs = [
            f"{environment[port]}={os.environ[where]}"
            for port, where in LISTENERS.items()
            if environment and port in environment and os.environ.get(where)
        ]
        # A process of its own: the tests count unclosed sockets and event loops.
        self.forwarder = (
            subprocess.Popen([sys.executable, __file__, "forward", *pairs]) if pairs else None
        )

    def exec_run(self, cmd, user=None):
        cmd = shlex.split(cmd) if isinstance(cmd, str) else list(cmd)
        if cmd[0].endswith(("/kafka-acls.sh", "/kafka-configs.sh")):
            verb = "acls" if "acls" in cmd[0] else "scram"
            cmd = [sys.executable, __file__, verb, *cmd[1:]]
        elif cmd[0] == "supervisorctl":
            return 0, b"the log is the broker's own"
        else:
            cmd = [self.mounts.get(word, word) for word in cmd]
        done = subprocess.run(
            cmd,
            cwd=self.cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout

    def stop(self):
        if self.forwarder:
            self.forwarder.terminate()
            self.forwarder.wait()


class Client:
    class containers:
        @staticmethod
        def run(image=None, command=None, **options):
            return Container(**options)

    class images:
        @staticmethod
        def pull(image):
            pass

    def close(self):
        pass


def from_env():
    return Client()


class models:
    class containers:
        Container = Container


# --- what runs in processes of its own: python docker/__init__.py VERB ARGS ---


def forward(pairs):
    """Forward LOCAL_PORT=HOST:PORT pairs, byte for byte, until ended."""
    import asyncio

    async def pump(reader, writer):
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def listen(pair):
        local, _, address = pair.partition("=")
        host, _, port = address.rpartition(":")

        async def connected(reader, writer):
            try:
                to_reader, to_writer = await asyncio.open_connection(host, int(port))
            except OSError:
                writer.close()
                return
            await asyncio.gather(pump(reader, to_writer), pump(to_reader, writer))

        return await asyncio.start_server(connected, "127.0.0.1", int(local))

    async def main():
        servers = [await listen(pair) for pair in pairs]
        await asyncio.gather(*(server.serve_forever() for server in servers))

    asyncio.run(main())


def admin():
    from confluent_kafka.admin import AdminClient

    return AdminClient(
        {"bootstrap.servers": os.environ["SUITE_BROKER"], "socket.timeout.ms": 10000}
    )


def wait_until(condition):
    """What an admin call changed counts once the broker shows it: records of the metadata log are
    applied a moment later."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("the broker accepted the change but does not show it")
        time.sleep(0.02)


def acls(args):
    """kafka-acls.sh --add|--remove|--list with one resource, one principal and one operation."""
    from confluent_kafka import admin as a

    # A flag's "value" is the next flag: only options that take one are read.
    option = dict(itertools.pairwise(args))
    client = admin()
    resource, name = a.ResourceType.ANY, None
    for flag, kind in {
        "--topic": "TOPIC",
        "--group": "GROUP",
        "--transactional-id": "TRANSACTIONAL_ID",
    }.items():
        if flag in option:
            resource, name = a.ResourceType[kind], option[flag]
    if "--cluster" in args:
        resource, name = a.ResourceType.BROKER, "kafka-cluster"
    if "--list" in args:
        who = option.get("--principal")
        any_acl = a.AclBindingFilter(
            resource,
            name,
            a.ResourcePatternType.ANY,
            who,
            None,
            a.AclOperation.ANY,
            a.AclPermissionType.ANY,
        )
        for acl in client.describe_acls(any_acl).result():
            print(acl)
        return
    allow = "--allow-principal" in option
    terms = (
        resource,
        name,
        a.ResourcePatternType.LITERAL,
        option["--allow-principal" if allow else "--deny-principal"],
        option.get("--allow-host" if allow else "--deny-host", "*"),
        a.AclOperation[option["--operation"].upper()],
        a.AclPermissionType.ALLOW if allow else a.AclPermissionType.DENY,
    )
    this = a.AclBindingFilter(*terms)
    add = "--add" in args
    if add:
        for future in client.create_acls([a.AclBinding(*terms)]).values():
            future.result()
    else:
        for future in client.delete_acls([this]).values():
            future.result()
    wait_until(lambda: bool(client.describe_acls(this).result()) == add)


def scram(args):
    """kafka-configs.sh --alter --entity-type users --entity-name USER --add-config
    MECHANISM=[password=P],..."""
    from confluent_kafka import KafkaException
    from confluent_kafka import admin as a

    option = dict(itertools.pairwise(args))
    user, client = option["--entity-name"], admin()
    wanted = option["--add-config"].split(",")
    # One request each: Kafka 4 refuses one that names a user twice, from its own tool too.
    for part in wanted:
        mechanism, _, password = part.partition("=[password=")
        info = a.ScramCredentialInfo(a.ScramMechanism[mechanism.replace("-", "_")], 4096)
        change = a.UserScramCredentialUpsertion(user, info, password.rstrip("]").encode())
        client.alter_user_scram_credentials([change])[user].result()

    def shown():
        try:
            known = (
                client.describe_user_scram_credentials([user])[user].result().scram_credential_infos
            )
        except KafkaException:  # the broker does not know the user yet
            return False
        return len(known) >= len(wanted)

    wait_until(shown)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, put there for a script
    {"forward": forward, "acls": acls, "scram": scram}[sys.argv[1]](sys.argv[2:])
