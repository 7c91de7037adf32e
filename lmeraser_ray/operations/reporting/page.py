"""The page of a workspace: one HTML file that loads nothing and runs nothing.

Place in the flow: PageFacts ─► template (Jinja2, every value escaped) ─► bytes in UTF-8. Invariant:
a Content-Security-Policy in the page forbids scripts and all addresses but its own pictures, so
that what a name holds cannot become one.
"""

from datetime import datetime, timedelta
from math import isnan

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lmeraser_ray.operations.learned_prompts import scale_of
from lmeraser_ray.operations.quality import Quality
from lmeraser_ray.operations.reporting import drawings
from lmeraser_ray.operations.reporting.page_facts import PageFacts

CLASSES, SHARDS = 30, 20
"""Of a confusion matrix, and in the table of shards."""
IN_NUMBERS = ("log loss", "calibration error")
"""Measures that are no shares."""


def page_of(facts: PageFacts) -> bytes:
    """Return the page as HTML in UTF-8."""
    quality, sizes = facts.evaluation.quality, [shard.size for shard in facts.shards]
    drawn = [] if isinstance(facts.prompts, str) else facts.prompts
    confused = most_confused(quality) if quality else np.empty(0, np.int64)
    shown = sorted(facts.shards, key=lambda shard: -shard.size)[:SHARDS]
    text = (
        environment()
        .get_template("report.html.j2")
        .render(
            facts=facts,
            quality=quality,
            confused=confused.tolist(),
            bins=drawings.reliability_boxes(quality.bins) if quality else [],
            bars=drawings.size_boxes(sizes),
            shown=shown,
            pictures=drawings.prompt_pictures_in(drawn) if drawn else [],
            scale=scale_of(drawn) if drawn else 0,
            width=drawings.WIDTH,
            height=drawings.HEIGHT,
        )
    )
    return text.encode()


def environment() -> Environment:
    """Return the templates, with the filters that they use."""
    made = Environment(
        loader=PackageLoader("lmeraser_ray.operations.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"share": as_share, "measure": as_measure, "moment": as_moment}
    made.filters |= {"span": as_span, "number": as_number, "size": as_size}
    return made


def most_confused(quality: Quality) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the places of the classes that a matrix shows, `CLASSES` at most, in their order:
    those with the most mistakes."""
    off = quality.confusion.sum(0) + quality.confusion.sum(1) - 2 * quality.confusion.diagonal()
    return np.sort(np.argsort(-off, kind="stable")[:CLASSES])


def as_share(value: float | None) -> str:
    """Return a share as a percentage in the figures that it has: 98.3%, 0.42%."""
    if value is None or isnan(value):
        return "n/a"
    percent = 100 * value
    return f"{percent:.1f}%" if percent >= 1 or percent == 0 else f"{percent:.2g}%"


def as_measure(value: float, name: str) -> str:
    """Return a measure of quality by its name."""
    if isnan(value):
        return "n/a"
    return f"{value:.3f}" if name in IN_NUMBERS else as_share(value)


def as_moment(value: datetime | None) -> str:
    """Return a moment as a reader wants it."""
    return "not known" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def as_span(value: timedelta | float | None) -> str:
    """Return a span of time in the unit that suits it; a number is of seconds."""
    if value is None:
        return "n/a"
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f}\u00a0{name}"
    return f"{seconds:.1f}\u00a0s"


def as_number(value: float | None) -> str:
    """Return a count with commas."""
    return "n/a" if value is None else f"{value:,.0f}"


def as_size(value: float) -> str:
    """Return bytes in three figures."""
    for unit, letters in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{value / unit:.3g} {letters}"
    return f"{value:.0f} B"
