"""How a queue stands, for people: as a live table in a terminal, or as plain lines. Everything
comes from the request database.

The queue shows itself once a second; in between the table moves by the clock, so that times and
bars do not stand still.
"""

import sys
import time
from collections.abc import Callable
from datetime import datetime
from io import StringIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lmeraser_ray.erasure.queue.overview import OpenRequest, Overview
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.stop_signal import Stop

REFRESH_S, READ_S = 0.25, 1.0
"""Seconds between two pictures, and between two looks into the database."""
COLORS = {None: "green", 50: "yellow", 80: "dark_orange", 95: "red", 100: "bold red"}
"""Of a deadline's bar, by its alert."""
AROUND = 16
"""Lines of a picture that are not a request's or a shard's."""
LONGEST_LIST = 20


def watch(read: Callable[[int], Overview], console: Console, *, epochs: int | None) -> None:
    """Show a live table until Ctrl-C or SIGTERM. read: how things stand, with so many requests;
    epochs: of a shard's training, if any.

    Not by `KeyboardInterrupt`: one that is raised while Python collects garbage is printed and
    lost.
    """
    rows = max(3, min(LONGEST_LIST, console.height - AROUND))
    with (
        Stop().listening() as stop,
        Live(console=console, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        while not stop.asked:
            found, since = read(rows), time.monotonic()
            while (passed := time.monotonic() - since) < READ_S and not stop.asked:
                live.update(picture(found, later=passed, epochs=epochs), refresh=True)
                stop.wait(REFRESH_S)


def plain(found: Overview, *, epochs: int | None, width: int = 100) -> str:
    """One picture as text."""
    sink = StringIO()
    Console(file=sink, width=width, no_color=True).print(picture(found, later=0.0, epochs=epochs))
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines())


def on_terminal() -> bool:
    """Whether stdout is one."""
    return sys.stdout.isatty()


def picture(found: Overview, *, later: float, epochs: int | None) -> RenderableType:
    """One picture. later: seconds since the database was read."""
    parts: list[RenderableType] = [Group(holder_line(found, later), Text(), states_table(found))]
    if found.first:
        parts.append(requests_table(found))
    if found.training:
        parts.append(training_table(found, later, epochs))
    parts.append(Group(*summary(found)))
    spaced = [line for part in parts for line in (part, Text())][:-1]
    return Panel(Group(*spaced), title="erasure requests", title_align="left", border_style="dim")


def holder_line(found: Overview, later: float) -> RenderableType:
    """Who works."""
    if not found.live:
        return Text(
            "Nobody works on them: run `lmeraser queue serve`, or `queue run`.",
            style="yellow" if found.open else "dim",
        )
    age = max(0.0, (found.heartbeat_age or 0.0) + later)
    busy = "idle" if found.snapshot.get("idle") else "at work"
    return Text(
        f"{found.seen.holder}, epoch {found.seen.epoch}, {busy}; last sign of life {age:.1f} s ago",
        style="cyan",
    )


def states_table(found: Overview) -> Table:
    """How many requests are in each state."""
    table = Table(box=None, padding=(0, 2, 0, 0), expand=False)
    for state in State:
        style = (
            "red"
            if state is State.FAILED and found.counts[state]
            else ""
            if found.counts[state]
            else "dim"
        )
        table.add_column(state.lower(), justify="right", style=style, header_style=style or "bold")
    table.add_row(*(f"{found.counts[state]:,}" for state in State))
    return table


def requests_table(found: Overview) -> Table:
    """The requests that must be answered first, with what is left of their time."""
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        expand=True,
        title="to be answered first",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("request", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("received", justify="right", no_wrap=True)
    table.add_column("time used", ratio=1, min_width=10)
    table.add_column("deadline", justify="right", no_wrap=True)
    for waiting in found.first:
        color = COLORS[waiting.alert]
        bar = ProgressBar(
            total=1.0,
            completed=min(1.0, max(0.0, waiting.used)),
            complete_style=color,
            finished_style=color,
        )
        state = Text(waiting.state.lower(), style="red" if waiting.state is State.FAILED else "")
        table.add_row(
            waiting.id,
            state,
            f"{ago(waiting.received, found.now)} ago",
            bar,
            Text(left(waiting, found.now), style=color),
        )
    return table


def training_table(found: Overview, later: float, epochs: int | None) -> Table:
    """The shards in training."""
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        expand=True,
        title="in training",
        title_justify="left",
        title_style="bold",
    )
    for name in ("shard", "requests", "epoch" if epochs else "done"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("progress", ratio=1, min_width=10)
    table.add_column("since", justify="right", no_wrap=True)
    table.add_column("to go", justify="right", no_wrap=True)
    lanes = found.training[:LONGEST_LIST]
    for lane in lanes:
        share, seconds, remaining = lane["share"], lane["seconds"], lane["remaining"]
        if share is not None and remaining is not None and seconds is not None:
            remaining, seconds = max(0.0, remaining - later), seconds + later
            share = seconds / max(seconds + remaining, 1e-9)
        done = (
            ""
            if share is None
            else f"{share * epochs:.1f} of {epochs}"
            if epochs
            else f"{share:.0%}"
        )
        bar = ProgressBar(
            total=None if share is None else 1.0,
            completed=share or 0.0,
            pulse=share is None,
            complete_style="cyan",
            pulse_style="cyan",
        )
        table.add_row(
            "all" if lane["shard"] is None else str(lane["shard"]),
            f"{lane['requests']:,}",
            done,
            bar,
            "" if seconds is None else lasting(seconds),
            "" if remaining is None else lasting(remaining),
        )
    if len(found.training) > len(lanes):
        table.caption = f"and {len(found.training) - len(lanes):,} more"
    return table


def summary(found: Overview) -> list[Text]:
    """Slots, GPUs, what sharing saved; deadlines that come near; the error of the last round."""
    shown, parts = found.snapshot, []
    if shown.get("slots"):
        gpus = found.in_use * (shown.get("gpus") or 0.0)
        parts.append(
            f"{found.in_use} of {shown['slots']} slots in use"
            + (f" ({gpus:g} GPU)" if gpus else "")
        )
    if found.live:
        retrains, saved, superseded = (
            shown.get(name, 0) for name in ("retrains", "saved", "superseded")
        )
        parts.append(
            f"{retrains:,} retrains, {saved:,} saved by sharing, {superseded:,} started over"
        )
    if found.oldest:
        parts.append(f"the oldest open request is {ago(found.oldest, found.now)} old")
    lines = [Text("; ".join(parts) or "nothing to do", style="dim")]
    if found.alerts:
        levels = ", ".join(
            f"{found.alerts[level]:,} past {level}%" for level in sorted(found.alerts)
        )
        lines.append(
            Text(
                f"open requests by the time that is used up: {levels}",
                style=COLORS[max(found.alerts)],
            )
        )
    if shown.get("alert"):
        lines.append(Text(f"The last round ended in an error: {shown['alert']}", style="red"))
    return lines


def ago(moment: datetime, now: datetime) -> str:
    """How long ago a moment was."""
    return lasting(max(0.0, (now - moment).total_seconds()))


def left(waiting: OpenRequest, now: datetime) -> str:
    """What is left until a deadline."""
    seconds = (waiting.deadline - now).total_seconds()
    return f"in {lasting(seconds)}" if seconds >= 0 else f"{lasting(-seconds)} overdue"


def lasting(seconds: float) -> str:
    """A span of time in its largest unit."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
