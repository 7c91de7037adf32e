"""The state of a queue for people to read: a live table in a terminal, or plain lines. Everything
comes from the request database.

The database is read once a second; in between the clock moves times and bars.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from itertools import accumulate
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lmeraser_ray.cli.table import WIDTH
from lmeraser_ray.erasure.queue.overview import OpenRequest, Overview
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.pipeline.manifest import shard_name
from lmeraser_ray.pipeline.outlet import on_terminal

REFRESH_S, READ_S = 0.25, 1.0
"""Seconds between two pictures, and between two reads of the database."""
COLORS = {None: "green", 50: "yellow", 80: "dark_orange", 95: "red", 100: "bold red"}
"""The color of a deadline's bar, by its alert."""
AROUND = 22
"""Lines of a picture that show neither a request nor a shard."""
LONGEST_LIST = 20


def watch(read: Callable[[int], Overview], console: Console, *, epochs: int | None) -> None:
    """Show a live table until Ctrl-C or SIGTERM. read: returns the overview with so many requests;
    epochs: of a shard's training, None where it has none.

    The signals are handled here, because Python prints and drops a `KeyboardInterrupt` that is
    raised during garbage collection.
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


def plain(found: Overview, *, epochs: int | None, width: int | None = None) -> str:
    """Return one picture as text. width: in columns, None for those of the terminal, `WIDTH` where
    stdout is none."""
    sink = StringIO()
    terminal = shutil.get_terminal_size().columns if on_terminal(sys.stdout) else WIDTH
    width = terminal if width is None else width
    Console(file=sink, width=width, no_color=True).print(picture(found, later=0.0, epochs=epochs))
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines())


def picture(found: Overview, *, later: float, epochs: int | None) -> RenderableType:
    """Draw one picture. later: seconds since the database was read."""
    parts: list[RenderableType] = [Group(holder_line(found, later), Text(), states_line(found))]
    if found.first:
        parts.append(requests_table(found))
    if found.training:
        parts.append(training_table(found, later, epochs))
    if found.closed:
        parts.append(closed_table(found))
    parts.append(Group(*summary(found)))
    spaced = [line for part in parts for line in (part, Text())][:-1]
    return Panel(Group(*spaced), title="erasure requests", title_align="left", border_style="dim")


def holder_line(found: Overview, later: float) -> RenderableType:
    """Draw which queue holds the lease, and its last sign of life."""
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


def states_line(found: Overview) -> Text:
    """Draw how many requests are in each state that any is in."""
    line = Text("requests: ")
    there = [state for state in State if found.counts[state]]
    for at, state in enumerate(there):
        style = "red" if state is State.FAILED else ""
        line.append(", " if at else "").append(
            f"{found.counts[state]:,} {state.lower()}", style=style
        )
    return line if there else line.append("none")


def titled(title: str) -> Table:
    """Return an empty table."""
    return Table(
        box=None,
        padding=(0, 2, 0, 0),
        expand=False,
        title=title,
        title_justify="left",
        title_style="bold",
    )


def requests_table(found: Overview) -> RenderableType:
    """Draw the requests that must be answered first, with what is left of their time."""
    heads = ("request", "state", "deadline", "time used", "received")
    rows = []
    for waiting in found.first:
        color = COLORS[waiting.alert]
        rows.append(
            (
                Text(waiting.id),
                Text(waiting.state.lower(), style="red" if waiting.state is State.FAILED else ""),
                Text(left(waiting, found.now), style=color),
                Text(bar(waiting.used), style=color),
                Text(f"{ago(waiting.received, found.now)} ago"),
            )
        )
    return Fitting("to be answered first", heads, rows)


def closed_table(found: Overview) -> RenderableType:
    """Draw the requests that were answered last."""
    rows = [
        (
            Text(each.id),
            Text(each.state.lower()),
            Text(f"{ago(each.closed, found.now)} ago"),
            Text("late" if each.late else "", style="red"),
        )
        for each in found.closed
    ]
    return Fitting("answered last", ("request", "state", "ended", ""), rows)


@dataclass(frozen=True)
class Fitting:
    """A table of one line a row, which leaves its last columns out where they do not fit, so that
    the first ones are whole."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the columns that fit."""
        lengths = [
            max(len(head), *(len(row[at]) for row in self.rows)) + 2
            for at, head in enumerate(self.heads)
        ]
        fit = sum(1 for whole in accumulate(lengths) if whole <= options.max_width + 2)
        drawn = titled(self.title)
        for head in self.heads[: max(1, fit)]:
            drawn.add_column(head, no_wrap=True)
        for row in self.rows:
            drawn.add_row(*row[: max(1, fit)])
        yield drawn


def bar(share: float) -> str:
    """Return a share as ten characters and a percentage, for eyes and terminals without colours."""
    full = round(10 * min(1.0, max(0.0, share)))
    return f"{'#' * full}{'-' * (10 - full)} {share:4.0%}"


def training_table(found: Overview, later: float, epochs: int | None) -> RenderableType:
    """Draw the shards in training."""
    heads = ("shard", "requests", "progress", "epoch" if epochs else "done", "to go", "since")
    shards = found.training[:LONGEST_LIST]
    rows = [[*map(Text, training_row(shard, later, epochs))] for shard in shards]
    drawn = Fitting("in training", heads, rows)
    if len(found.training) > len(shards):
        return Group(drawn, Text(f"and {len(found.training) - len(shards):,} more", style="dim"))
    return drawn


def training_row(shard: Mapping[str, Any], later: float, epochs: int | None) -> Iterator[str]:
    """Yield the cells of a shard in training; its share is moved on by the clock."""
    share, seconds, remaining = shard["share"], shard["seconds"], shard["remaining"]
    if share is not None and remaining is not None and seconds is not None:
        remaining, seconds = max(0.0, remaining - later), seconds + later
        share = seconds / max(seconds + remaining, 1e-9)
    yield "all" if shard["shard"] is None else shard_name(shard["shard"])
    yield f"{shard['requests']:,}"
    yield "not known" if share is None else bar(share)
    if share is None:
        yield ""
    else:
        yield f"{share * epochs:.1f} of {epochs}" if epochs else f"{share:.0%}"
    yield "" if remaining is None else lasting(remaining)
    yield "" if seconds is None else lasting(seconds)


def summary(found: Overview) -> list[Text]:
    """Draw the slots and GPUs in use, what sharing saved, near deadlines, and the last round's
    error."""
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
    if found.kept.tombstones:
        lines.append(Text(found.kept.line(), style="dim"))
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
    """Return how long ago a time was."""
    return lasting(max(0.0, (now - moment).total_seconds()))


def left(waiting: OpenRequest, now: datetime) -> str:
    """Return what is left until a deadline."""
    seconds = (waiting.deadline - now).total_seconds()
    return f"in {lasting(seconds)}" if seconds >= 0 else f"{lasting(-seconds)} overdue"


def lasting(seconds: float) -> str:
    """Return a span of time in its largest unit."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
