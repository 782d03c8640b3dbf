"""Exactly-once under crashes at every commit step, rebalances, zombies and aborts."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

import flowstream as fs
from flowstream.processing.commit import AT_LEAST_ONCE, EXACTLY_ONCE, ORDER, Step
from flowstream.processing.group.memberships import Memberships
from flowstream.processing.stores.starting import TaskStarter
from flowstream.testing import Broker
from flowstream.transport import admin
from flowstream.transport.consumer import GroupConsumer
from flowstream.transport.errors import GenerationPassed, TransportError
from flowstream.transport.types import Generation, NewTopic, TopicPartition
from tests.processing.conftest import Kit

KEYS = 7
LANES = 4


class Crash(BaseException):
    """Ends a worker where it stands."""


def link(before: str, id: str) -> str:
    return hashlib.sha256(f"{before}{id}".encode()).hexdigest()[:12]


def chain_app(kit: Kit, name: str, **settings: Any) -> tuple[fs.App, fs.Topic[str, str]]:
    """State per key is a hash chain over its inputs: loss, repeat and reorder all show."""
    how: Any = {"concurrency": LANES, "order": "key"} if settings.pop("lanes", False) else {}
    app = kit.app(name, **settings)
    inputs = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=3)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=3)
    chains = app.Table("chains", default=str)

    @app.agent(inputs, sink=[out], **how)
    async def extend(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, id in stream.items():
            chains[key] = link(chains[key], id)
            if int(id) % 5 == 0:
                await asyncio.sleep(0.003 * (int(id) % 3) if how else 0)
            yield f"{id} {chains[key]}"

    return app, inputs


async def feed(kit: Kit, name: str, inputs: fs.Topic[str, str], first: int, count: int) -> None:
    if not await kit.admin.topics([f"{name}-in"]):
        await kit.admin.create_topics([NewTopic(f"{name}-in", 3), NewTopic(f"{name}-out", 3)])
    await asyncio.gather(
        *(inputs.send(key=f"k{n % KEYS}", value=str(n)) for n in range(first, first + count))
    )


async def check(kit: Kit, name: str, total: int, app: fs.App) -> None:
    """S7, S8, S9: outputs and table are the fold of the input, each input once, in order."""
    order = defaultdict(list)
    for record in await kit.records(f"{name}-in"):
        order[record.key].append((record.value or b"").decode())
    expected, final = defaultdict(list), {}
    for key, ids in order.items():
        state = ""
        for id in ids:
            state = link(state, id)
            expected[key].append(f"{id} {state}")
        final[key] = state
    outputs = defaultdict(list)
    for record in await kit.records(f"{name}-out"):
        outputs[record.key].append((record.value or b"").decode())
    assert sum(map(len, outputs.values())) == total
    assert outputs == expected
    folded = {r.key: (r.value or b"").decode() for r in await kit.records(app.changelog("chains"))}
    assert folded == final


def crash_at(step: str, times: int) -> Any:
    """A checkpoint that ends the worker when a step comes up for the n-th time with work to do."""
    seen = 0

    def checkpoint(name: str) -> None:
        nonlocal seen
        seen += name == step
        if name == step and seen > times:
            raise Crash(step)

    return checkpoint


@pytest.mark.parametrize("lanes", [False, True])
@pytest.mark.parametrize("step", [s for s in ORDER[EXACTLY_ONCE] if s is not Step.CLOSE])
async def test_S2_S9_a_crash_before_any_step_leaves_each_input_done_once(
    kit: Kit, name: str, step: Step, lanes: bool
) -> None:
    app, inputs = chain_app(kit, name, lanes=lanes)
    await feed(kit, name, inputs, 0, 60)
    worker = fs.Worker(app, kit.address, checkpoint=crash_at(step.value, 0))
    with pytest.raises(Crash):
        await worker.run()
    again, inputs = chain_app(kit, name, lanes=lanes)
    await feed(kit, name, inputs, 60, 20)
    crashed_twice = fs.Worker(again, kit.address, checkpoint=crash_at(step.value, 1))
    running = asyncio.create_task(crashed_twice.run())
    await asyncio.wait((running,), timeout=1.0)
    crashed_twice.stop()
    await asyncio.wait((running,))
    assert running.exception() is None or isinstance(running.exception(), Crash)
    last, inputs = chain_app(kit, name, lanes=lanes)
    await kit.run_until(last, kit.committed(last, f"{name}-in", 80))
    await check(kit, name, 80, last)


@pytest.mark.parametrize("step", [s for s in ORDER[AT_LEAST_ONCE] if s is not Step.CLOSE])
async def test_at_least_once_loses_nothing(kit: Kit, name: str, step: Step) -> None:
    app, inputs = chain_app(kit, name, processing_guarantee="at_least_once")
    await feed(kit, name, inputs, 0, 30)
    worker = fs.Worker(app, kit.address, checkpoint=crash_at(step.value, 0))
    with pytest.raises(Crash):
        await worker.run()
    again, inputs = chain_app(kit, name, processing_guarantee="at_least_once")
    await kit.run_until(again, kit.committed(again, f"{name}-in", 30))
    seen = {(v or b"").split()[0] for v in await kit.values(f"{name}-out")}
    assert seen == {str(n).encode() for n in range(30)}


@pytest.mark.parametrize("lanes", [False, True])
async def test_S6_workers_come_and_go_while_events_flow(kit: Kit, name: str, lanes: bool) -> None:
    app, inputs = chain_app(kit, name, lanes=lanes)
    await feed(kit, name, inputs, 0, 100)
    second, _ = chain_app(kit, name, lanes=lanes)
    third, _ = chain_app(kit, name, lanes=lanes)
    async with kit.running(app) as one:
        await kit.until(kit.count(f"{name}-out", 10))
        async with kit.running(second) as two:
            await feed(kit, name, inputs, 100, 100)

            async def shared() -> bool:
                return bool(one.tasks) and bool(two.tasks)

            await kit.until(shared)
            async with kit.running(third):
                await feed(kit, name, inputs, 200, 100)
                await kit.until(kit.count(f"{name}-out", 250))
        await kit.until(kit.committed(app, f"{name}-in", 300))
    await check(kit, name, 300, app)


@pytest.mark.parametrize("lanes", [False, True])
async def test_G1_a_zombie_cannot_commit_and_joins_again(
    kit: Kit, name: str, lanes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, inputs = chain_app(kit, name, lanes=lanes)
    await feed(kit, name, inputs, 0, 40)
    worker = fs.Worker(app, kit.address)
    lost: list[TransportError] = []
    generations: list[int] = []
    pay = Memberships._lost

    async def watched(self: Memberships, error: TransportError) -> None:
        lost.append(error)
        await pay(self, error)

    def late(step: str) -> None:
        membership = worker._membership
        if step == "close" and membership is not None:
            member = cast("GroupConsumer", membership.consumer)._member
            assert member.generation is not None
            generations.append(member.generation.generation_id)
            if len(generations) == 1:
                # What a worker holds that slept over a rebalance.
                old = member.generation
                member.generation = old._replace(generation_id=old.generation_id - 1)

    monkeypatch.setattr(Memberships, "_lost", watched)
    worker._checkpoint = late
    running = asyncio.create_task(worker.run())
    await kit.until(kit.committed(app, f"{name}-in", 40))
    worker.stop()
    await running
    # The refusal, and nothing else, cost the membership; everything was committed in a new one.
    assert [type(error) for error in lost] == [GenerationPassed]
    assert generations[-1] > generations[0]
    await check(kit, name, 40, app)


@pytest.mark.parametrize("lanes", [False, True])
async def test_T4_a_fenced_session_goes_back_to_the_last_commit(
    kit: Kit, name: str, lanes: bool
) -> None:
    app, inputs = chain_app(kit, name, lanes=lanes)
    await feed(kit, name, inputs, 0, 40)
    fenced = 0

    def steal(step: str) -> None:
        nonlocal fenced
        session = worker._session
        if step == "produce" and session is not None and not fenced:
            fenced += 1
            session._producer = session._producer._replace(epoch=session._producer.epoch + 5)

    worker = fs.Worker(app, kit.address, checkpoint=steal)
    running = asyncio.create_task(worker.run())
    await kit.until(kit.committed(app, f"{name}-in", 40))
    worker.stop()
    await running
    assert worker.counts.aborts >= 1
    await check(kit, name, 40, app)


async def test_S6_a_rebalance_while_restoring_starts_over(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, inputs = chain_app(kit, name)
    await feed(kit, name, inputs, 0, 60)
    await kit.run_until(app, kit.committed(app, f"{name}-in", 60))
    gate = asyncio.Event()
    slow = 0
    stores = TaskStarter.stores

    async def wait_first(self: TaskStarter, *arguments: Any) -> Any:
        nonlocal slow
        slow += 1
        await gate.wait()
        return await stores(self, *arguments)

    def restoring(starts: int) -> Any:
        async def holds() -> bool:
            return slow >= starts

        return holds

    monkeypatch.setattr(TaskStarter, "stores", wait_first)
    one, _ = chain_app(kit, name, data_dir=kit.directory / "fresh")
    two, _ = chain_app(kit, name, data_dir=kit.directory / "fresh")
    await feed(kit, name, inputs, 60, 60)
    async with kit.running(one):
        await kit.until(restoring(3))
        async with kit.running(two):
            # One task moves and starts over there; the restores of the others go on.
            await kit.until(restoring(4))
            gate.set()
            await kit.until(kit.committed(one, f"{name}-in", 120))
    await check(kit, name, 120, one)


async def test_a_deleted_changelog_is_refused(kit: Kit, name: str) -> None:
    app, inputs = chain_app(kit, name)
    await feed(kit, name, inputs, 0, 20)
    await kit.run_until(app, kit.committed(app, f"{name}-in", 20))
    await kit.admin.delete_topics([app.changelog("chains")])
    again, _ = chain_app(kit, name)
    with pytest.raises(
        fs.StateLost, match=r"is gone.*on another cluster than .*--data DIR.*deleted, restore it"
    ):
        await fs.Worker(again, kit.address).run()
    await kit.admin.create_topics([NewTopic(app.changelog("chains"), 3)])
    again, _ = chain_app(kit, name)
    with pytest.raises(fs.StateLost, match="was deleted and made anew"):
        await fs.Worker(again, kit.address).run()


async def test_G3_offsets_that_are_gone_never_mean_the_start(kit: Kit, name: str) -> None:
    app, inputs = chain_app(kit, name)
    await feed(kit, name, inputs, 0, 20)
    await kit.run_until(app, kit.committed(app, f"{name}-in", 20))
    await kit.admin.delete_topics([f"{name}-in"])
    await kit.admin.create_topics([NewTopic(f"{name}-in", 3)])
    again, _ = chain_app(kit, name)
    with pytest.raises(fs.FlowstreamError, match=r"offsets of .* are gone|has no offset"):
        await fs.Worker(again, kit.address).run()


async def test_G3_lost_offsets_with_a_fresh_slot_never_mean_the_start(kit: Kit, name: str) -> None:
    app, inputs = chain_app(kit, name)
    await feed(kit, name, inputs, 0, 20)
    await kit.run_until(app, kit.committed(app, f"{name}-in", 20))
    await kit.admin.delete_group(app.id)
    again, _ = chain_app(kit, name, data_dir=kit.directory / "fresh")
    with pytest.raises(fs.StateLost, match=r"offsets of .*-in-\d are gone .* table 'chains' was"):
        await fs.Worker(again, kit.address).run()
    await check(kit, name, 20, app)


async def test_G3_aborted_records_in_a_changelog_are_no_state(kit: Kit, name: str) -> None:
    app, inputs = chain_app(kit, name)
    await feed(kit, name, inputs, 0, 20)
    with pytest.raises(Crash):
        await fs.Worker(app, kit.address, checkpoint=crash_at("offsets", 0)).run()
    again, _ = chain_app(kit, name, data_dir=kit.directory / "fresh")
    await kit.run_until(again, kit.committed(again, f"{name}-in", 20))
    await check(kit, name, 20, again)


async def test_G3_an_offset_out_of_range_stops_the_app(kit: Kit, name: str) -> None:
    app, inputs = chain_app(kit, name)
    await feed(kit, name, inputs, 0, 6)
    offsets = {TopicPartition(f"{name}-in", 0): 1_000}
    await kit.admin.commit_offsets(offsets, Generation(app.id, -1, ""))
    with pytest.raises(fs.FlowstreamError, match=f"{name}-in-0 has no offset 1000"):
        await fs.Worker(app, kit.address).run()


def reading_app(kit: Kit, name: str) -> fs.App:
    app = kit.app(name)

    @app.agent(app.topic(f"{name}-in"))
    async def read(stream: fs.Stream[Any]) -> None:
        async for _ in stream:
            pass

    return app


async def test_a_missing_input_is_made_by_a_broker_that_does_so(kit: Kit, name: str) -> None:
    app = reading_app(kit, name)
    async with kit.running(app) as worker:

        async def assigned() -> bool:
            return bool(worker.tasks)

        await kit.until(assigned)
        assert f"{name}-in" in await kit.admin.topics([f"{name}-in"])


async def test_a_missing_input_and_a_missing_broker_are_told(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "AUTO_CREATE_TIMEOUT_MS", 50)
    app = reading_app(kit, name)
    async with Broker({"auto.create.topics.enable": "false"}) as broker:
        with pytest.raises(fs.TopicMissing, match="topics create"):
            await fs.Worker(app, broker.address).run()
    with pytest.raises(fs.FlowstreamError, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        await fs.Worker(app, "127.0.0.1:1").run()


async def test_V4_a_graceful_stop_commits_and_leaves(kit: Kit, name: str) -> None:
    app, inputs = chain_app(kit, name, commit_interval=60.0)
    await feed(kit, name, inputs, 0, 30)
    worker = fs.Worker(app, kit.address)
    running = asyncio.create_task(worker.run())

    async def done() -> bool:
        return worker.counts.events >= 30

    await kit.until(done)
    assert await kit.records(f"{name}-out") == []
    worker.stop()
    await running
    await check(kit, name, 30, app)
    assert (await kit.admin.group(app.id)).members == ()


async def test_S3_positions_are_covered_by_the_store(kit: Kit, name: str) -> None:
    app, inputs = chain_app(kit, name)
    await feed(kit, name, inputs, 0, 30)
    worker = await kit.run_until(app, kit.committed(app, f"{name}-in", 30))
    from flowstream.state.rocksdb import open_store
    from flowstream.state.store import StoreIdentity

    total = 0
    for number in range(3):
        path = kit.directory / name / "state" / name / "0" / f"chains-{number}"
        store = open_store(path, identity=StoreIdentity(name, "chains", number))
        tp = TopicPartition(app.changelog("chains"), number)
        end = (await kit.admin.end_offsets([tp]))[tp]
        # Behind the last record there is at most the commit marker.
        assert end - 1 <= (store.changelog_offset or 0) <= end
        total += store.source_offset or 0
        store.close()
    assert total == 30
    assert worker.counts.commits >= 1
