"""Level `secured`: bytes over real sockets to a server with a listener of each protocol, before and
after a login, under TLS, instead of TLS and with damaged TLS.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import struct
import tempfile
from collections import Counter
from pathlib import Path

from flowstream.broker.events import Event, Request
from flowstream.broker.server.driver import Driver
from flowstream.wire.frame import encode_request
from flowstream.wire.messages.sasl_authenticate import SaslAuthenticateRequest
from flowstream.wire.messages.sasl_handshake import SaslHandshakeRequest
from tests.broker.server.secured import NAMES, USERS, Secured, secured
from tests.fuzz.asking import OPENED
from tests.fuzz.generate import mutated
from tests.fuzz.sockets import LENGTHS, Clients, stream
from tests.fuzz.watch import Finding, Watch

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SECRETS = (*(f"\0{user}\0{password}".encode() for user, password in USERS.items()), b"\0a\0b", b"")
SCRAM = (b"n,,n=admin,r=abc", b"n,,n=nobody,r=abc", b"y,,n=a,r=", b"p=x,,n=a,r=b")
LOGIN = (17, 18, 36)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PROOF = b"c=biws,r=abcdef,p=dGhpcyBpcyBub3QgdGhlIHByb29m"


def login(rng: random.Random) -> bytes:
    """The frames of a login, right, wrong or out of order."""
    mechanism = rng.choice(("PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "x" * rng.randrange(40)))
    said = [rng.choice(SECRETS)] if mechanism == "PLAIN" else [rng.choice(SCRAM), PROOF]
    bodies = [(17, 1, SaslHandshakeRequest(mechanism=mechanism))]
    for data in said:
        auth = mutated(data, rng) if rng.random() < 0.3 else data
        bodies.append((36, rng.randrange(3), SaslAuthenticateRequest(auth_bytes=auth)))
    if rng.random() < 0.2:
        rng.shuffle(bodies)
    parts = [b"".join(encode_request(k, v, 1, "fuzz", body)) for k, v, body in bodies]
    if rng.random() < 0.2:
        at = rng.randrange(len(parts))
        frame = mutated(parts[at][4:], rng)
        parts[at] = struct.pack(">i", len(frame)) + frame
    return b"".join(parts)


def bare_login(rng: random.Random) -> bytes:
    """A login of old: after SaslHandshake 0 its tokens come bare, a length and bytes, without the
    header of a request. Right, wrong, of another mechanism, too many or with a length that lies.
    """
    mechanism = rng.choice(("PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"))
    handshake = encode_request(17, 0, 1, "fuzz", SaslHandshakeRequest(mechanism=mechanism))
    tokens = rng.choice(([rng.choice(SECRETS)], [rng.choice(SCRAM), PROOF], [rng.choice(SECRETS)]))
    said = [b"".join(handshake)]
    for token in tokens * rng.choice((1, 1, 1, 3)):
        data = mutated(token, rng) if rng.random() < 0.3 else token
        length = rng.choice(LENGTHS) if rng.random() < 0.1 else len(data)
        said.append(struct.pack(">i", length) + data)
    if rng.random() < 0.1:
        rng.shuffle(said)
    return b"".join(said)


def spoken(rng: random.Random) -> bytes:
    """A login or none, then what may or may not be said before one."""
    chance = rng.random()
    said = login(rng) if chance < 0.5 else bare_login(rng) if chance < 0.75 else b""
    return said + (stream(rng, OPENED) if rng.random() < 0.5 else stream(rng))


def hello(context: ssl.SSLContext) -> bytes:
    """The first flight of a TLS client."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(coming, going, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return going.read()


async def damaged_tls(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    context: ssl.SSLContext,
    data: bytes,
    rng: random.Random,
) -> bytes:
    """Shake hands, and what is then sent for `data`: encrypted and damaged."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    encrypted = context.wrap_bio(coming, going, server_hostname="localhost")
    while True:
        try:
            encrypted.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(going.read())
            received = await reader.read(1 << 16)
            if not received:
                return b""
            coming.write(received)
    encrypted.write(data or b"\0")
    finished = going.read()
    return mutated(finished, rng)


def before_login(driver: Driver) -> list[int]:
    """From now on: the APIs that strangers get through to the node, those of a login apart (X1)."""
    submit, early = driver.submit, list[int]()

    def seen(event: Event) -> None:
        if isinstance(event, Request):
            session, key = event.session, event.to.api_key
            if "SASL" in session.protocol and not session.mechanism and key not in LOGIN:
                early.append(key)
        submit(event)

    driver.submit = seen  # type: ignore[method-assign]
    return early


def guarded_sockets(seed: int, count: int, watch: Watch) -> Counter[str]:
    """Talk to a secured server."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        return asyncio.run(_talk(Path(directory), seed, count, watch))


async def _talk(directory: Path, seed: int, count: int, watch: Watch) -> Counter[str]:
    rng = random.Random(seed)
    async with secured(directory, offsets_topic_num_partitions="1") as broker:
        innocent = await broker.logged_in()
        context = broker.context()
        first = hello(context)
        early = before_login(broker.server.driver)
        async with Clients(broker.server.driver, innocent, rng, watch) as clients:
            for _ in range(count):
                await _one(broker, context, first, clients, rng)
                if early:
                    raise Finding(f"API {early[0]} was parsed before a login")
            await clients.end()
            return clients.seen


async def _one(
    broker: Secured, context: ssl.SSLContext, first: bytes, clients: Clients, rng: random.Random
) -> None:
    """One client of one of the listeners. Where TLS is wanted it may fail to speak it."""
    listener = rng.choice(NAMES)
    port, data = broker.server.ports[listener], spoken(rng)

    async def plain() -> Streams:
        return await asyncio.open_connection("localhost", port)

    async def encrypted() -> Streams:
        return await asyncio.open_connection("localhost", port, ssl=context)

    chance = rng.random()
    if "SSL" not in listener or chance < 0.2:
        await clients.say(plain, data)
    elif chance < 0.5:
        await clients.say(plain, mutated(first, rng) + (data if rng.random() < 0.3 else b""))
    elif chance < 0.7:
        reader, writer = await plain()

        async def shaken() -> Streams:
            return reader, writer

        await clients.say(shaken, await damaged_tls(reader, writer, context, data, rng))
    else:
        await clients.say(encrypted, data)
