"""What the demo shows: a live panel on a terminal, plain lines elsewhere, and the report."""

from __future__ import annotations

import asyncio

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .audit import Audit
from .progress import Progress

REFRESH_S = 0.25
PLAIN_EVERY_S = 3.0


async def show(progress: Progress, console: Console) -> None:
    """Show the run until cancelled."""
    clock = asyncio.get_running_loop().time
    if not console.is_terminal:
        while True:
            now = clock()
            console.print(plain(progress, now), soft_wrap=True, highlight=False)
            await asyncio.sleep(PLAIN_EVERY_S)
    with Live(console=console, refresh_per_second=1 / REFRESH_S, transient=True) as live:
        while True:
            live.update(panel(progress, clock()))
            await asyncio.sleep(REFRESH_S)


def plain(progress: Progress, now: float) -> str:
    """The run in one line."""
    p = progress
    return (
        f"{now - p.began:5.1f} s  fed {p.fed}  scored {p.scored}  {p.rate(now):.0f}/s  lag {p.lag}"
        f"  alerts {p.alerts}  dead {p.dead}  commits {p.commits}"
        f"  kills {', '.join(p.kills) or 'none'}"
    )


def panel(progress: Progress, now: float) -> Panel:
    """The run as a panel."""
    p = progress
    facts = Table.grid(padding=(0, 2))
    facts.add_row("fed", bar(p.fed, p.total), f"{p.fed} of {p.total}")
    facts.add_row("scored", bar(p.scored + p.dead, p.total), f"{p.scored}, {p.rate(now):.0f}/s")
    numbers = Table.grid(padding=(0, 3))
    numbers.add_row(
        f"lag {p.lag}",
        Text(f"alerts {p.alerts}", style="bold yellow"),
        f"dead letters {p.dead}",
        f"commits {p.commits}",
        f"aborted {p.aborts}",
        Text(f"kills {len(p.kills)}", style="bold red" if p.kills else ""),
    )
    processes = Table.grid(padding=(0, 2))
    processes.add_row("broker", p.broker)
    for name, state in sorted(p.workers.items()):
        processes.add_row(name, Text(state, style="red" if state == "down" else "green"))
    events = Text("\n".join(p.events), style="dim")
    alert = Text(p.last_alert, style="yellow", no_wrap=True, overflow="ellipsis")
    title = f"fraud detection, exactly once  {now - p.began:.0f} s"
    return Panel(Group(facts, numbers, processes, alert, events), title=title, title_align="left")


def bar(done: int, total: int) -> ProgressBar:
    """A progress bar."""
    return ProgressBar(total=max(1, total), completed=min(done, total), width=40)


def report(audit: Audit, progress: Progress, console: Console) -> None:
    """Everything but the last line: alerts by reason, quality, what limits it, speed, faults."""
    reasons = Table("reason", "alerts", box=None, header_style="bold", pad_edge=False)
    for reason, count in audit.by_reason.most_common():
        reasons.add_row(reason, str(count))
    console.print(reasons)
    q, seconds = audit.quality, progress.ended - progress.began
    console.print(
        f"\n{q.alerts} alerts, {q.frauds} frauds: precision {q.precision:.2f}, recall"
        f" {q.recall:.2f}, F1 {q.f1:.2f} (best single amount threshold: 0.55)",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"What limits it: of {q.frauds - q.hits} missed frauds {audit.missed_small} are payments"
        " under 250 USD that look like any other;\n"
        f"of {q.alerts - q.hits} false alerts {audit.false_spree} are honest payments of a card"
        " in the two days after an alert.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"{audit.scored} payments in {seconds:.1f} s, {audit.scored / max(seconds, 0.001):.0f}/s at"
        f" the feeder's pace; {progress.commits} transactions, {progress.aborts} aborted;"
        f" killed: {', '.join(progress.kills) or 'nothing'}",
        highlight=False,
        soft_wrap=True,
    )
    for fault in audit.faults:
        console.print(f"fault: {fault}", style="bold red", highlight=False, soft_wrap=True)
