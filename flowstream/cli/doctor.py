"""`flowstream doctor`: is a data directory whole? Looks at everything, and changes nothing but what
it is told to put aside.
"""

from __future__ import annotations

import json as json_module
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from flowstream import clock
from flowstream.broker.config import BrokerConfig
from flowstream.broker.inspection.directory import DirectoryExam
from flowstream.broker.inspection.findings import Finding, Severity
from flowstream.broker.inspection.setting_aside import set_aside
from flowstream.broker.log.checkpoints import META_PROPERTIES
from flowstream.broker.storage.files import FileStorage
from flowstream.broker.storage.lock import DirectoryLock, DirectoryLocked, VisitorLock
from flowstream.broker.storage.readonly import ReadOnlyFiles
from flowstream.broker.types import Instant, TopicPartition
from flowstream.cli.broker import BUSY
from flowstream.cli.broker_process import PRIVATE
from flowstream.cli.embedded import EMBEDDED_DIRECTORY
from flowstream.cli.options import Json
from flowstream.errors import FlowstreamError
from flowstream.processing.environment.settings import Settings

ILL = 1


def command(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A broker's data directory, or an app's with the embedded broker's in it.",
            exists=True,
            file_okay=False,
        ),
    ],
    deep: Annotated[bool, typer.Option("--deep", help="Decode every record too.")] = False,
    json: Json = False,
    aside: Annotated[
        str | None,
        typer.Option(
            "--set-aside",
            metavar="TOPIC-PARTITION",
            help="Give up a partition that keeps the broker from starting: its directory is renamed"
            " and it begins empty.",
        ),
    ] = None,
) -> None:
    """Examine a stopped broker's data directory: locks, checkpoints, every batch, every index.

    Status 0: the broker will start and all that was durable is there; 1: not so; 75: in use.
    """
    directory = brokers_own(directory)
    if aside is not None:
        put_aside(directory, partition_named(aside))
        return
    try:
        lock = VisitorLock(directory)
    except DirectoryLocked as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BUSY) from None
    storage = ReadOnlyFiles(directory)
    exam = DirectoryExam(storage, BrokerConfig(), Instant(clock.wall_ms()), deep=deep)
    counts: Counter[Severity] = Counter()
    try:
        for finding in exam.findings():
            counts[finding.severity] += 1
            typer.echo(json_line(finding) if json else sentence(finding))
    except FlowstreamError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(ILL) from None
    finally:
        storage.close()
        lock.release()
    typer.echo(summary(exam.partitions, counts), err=json)
    raise typer.Exit(ILL if counts[Severity.ERROR] else 0)


def brokers_own(directory: Path) -> Path:
    """A broker's directory, where an app's is named or the one that the app's is made in."""
    usual = Path(Settings.data_dir)
    inside = [directory / each / EMBEDDED_DIRECTORY for each in (Path(), usual)]
    if not (directory / META_PROPERTIES).exists():
        for found in inside:
            if (found / META_PROPERTIES).exists():
                typer.echo(f"{directory} is an app's; its embedded broker's is {found}", err=True)
                return found
    return directory


def partition_named(text: str) -> TopicPartition:
    """A partition by the name of its directory."""
    topic, dash, number = text.strip("/").rpartition("-")
    if not (topic and dash and number.isascii() and number.isdecimal()):
        raise typer.BadParameter(f"{text!r} is no TOPIC-PARTITION, e.g. orders-0")
    return TopicPartition(topic, int(number))


def put_aside(directory: Path, name: TopicPartition) -> None:
    """Change the directory so that the broker starts without what `name` holds."""
    os.umask(PRIVATE)
    try:
        with DirectoryLock(directory), closing(FileStorage(directory)) as storage:
            plan = set_aside(storage, name, Instant(clock.wall_ms()))
            storage.sync(storage.perform(plan.operations))
    except DirectoryLocked as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BUSY) from None
    except FlowstreamError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(ILL) from None
    if plan.aside is not None:
        typer.echo(f"{name} is now {plan.aside}: `flowstream dump` reads what is left in it")
    typer.echo(
        f"after the next start {name} begins empty, at offset {plan.begin}; to have the topic anew,"
        f" delete it: `flowstream topics delete {name.topic}`"
    )


def json_line(finding: Finding) -> str:
    """A finding as a JSON object."""
    return json_module.dumps(finding._asdict(), ensure_ascii=False)


def sentence(finding: Finding) -> str:
    """A finding in words: how bad, where, what, and what to do."""
    places = ((finding.position, "byte"), (finding.offset, "offset"))
    where = "".join(f" {name} {place}" for place, name in places if place is not None)
    remedy = f"\n         -> {finding.remedy}" if finding.remedy else ""
    return f"{finding.severity.value:<8} {finding.path}{where}: {finding.what}{remedy}"


def summary(partitions: int, counts: Mapping[Severity, int]) -> str:
    """The last line."""
    errors, warnings = counts.get(Severity.ERROR, 0), counts.get(Severity.WARNING, 0)
    verdict = "something is wrong" if errors else "the directory is whole"
    return f"{partitions} partitions examined: {errors} errors, {warnings} warnings: {verdict}"
