"""The figure of `benchmarks.simulate_queue`: what a stream of erasure requests gets, against its
rate, with and without coalescing."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lmeraser_ray.study.figure.style import (
    COLOURS,
    FORMATS,
    GREY,
    WIDTH,
    Look,
    foot,
    house_style,
    new_figure,
    rendered,
)

LOOKS = {True: (COLOURS[0], "o"), False: (COLOURS[1], "s")}
"""Colour and marker, by coalescing."""
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write the figure beside its numbers. The same result gives the same bytes."""
    with house_style():
        figure = picture(result)
    paths = [folder / f"queue-simulation.{form}" for form in FORMATS]
    for path, form in zip(paths, FORMATS, strict=True):
        path.write_bytes(rendered(figure, form))
    return paths


def picture(result: dict[str, Any]) -> Figure:
    """Four panels over one axis of rates."""
    figure = new_figure(4.5, width=2 * WIDTH)
    panels = figure.subplots(2, 2, sharex=True)
    shares = sorted({point["sampled"] for point in result["points"]})
    for axes, (name, title) in zip(panels.flat, PANELS.items(), strict=True):
        for share in shares:
            for coalesce in (False, True):
                line(
                    axes,
                    result,
                    name,
                    share,
                    Look(
                        LOOKS[coalesce][0], "-" if share == shares[0] else ":", LOOKS[coalesce][1]
                    ),
                    coalesce,
                )
        dress(axes, result, name, title)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=6.5)
    foot(figure, *said(result))
    return figure


PANELS = {
    "throughput": "certified requests per second",
    "retrains_per_request": "retrains per request",
    "p50_s": "time to certification, median",
    "p99_s": "time to certification, 99th percentile",
}


def line(
    axes: Axes, result: dict[str, Any], name: str, share: float, look: Look, coalesce: bool
) -> None:
    """One policy on one kind of stream."""
    points = [
        point
        for point in result["points"]
        if point["sampled"] == share and point["coalesce"] == coalesce
    ]
    if not points:
        return  # not simulated
    points.sort(key=lambda point: point["rate"])
    way = "requests to a shard share its retrain" if coalesce else "a retrain for each request"
    face = look.colour if look.line == "-" else "white"
    axes.plot(
        [point["rate"] for point in points],
        [point[name] for point in points],
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markerfacecolor=face,
        markersize=3,
        label=f"{way}{kind(share)}",
    )


def kind(share: float) -> str:
    """What a stream's share of sampled records is called."""
    return f", {100 * share:g}% of sampled records" if share else ""


def dress(axes: Axes, result: dict[str, Any], name: str, title: str) -> None:
    """Axes, and where the slots are full if nothing is shared."""
    axes.set_xscale("log")
    axes.set_title(title, loc="left")
    if name != "retrains_per_request":
        axes.set_yscale("log")
    rates = sorted({point["rate"] for point in result["points"]})
    if name == "throughput":
        axes.plot(rates, rates, color=GREY, linewidth=0.6, zorder=1)
        axes.annotate(
            "all that come",
            (rates[-1], rates[-1]),
            (-4, -1),
            textcoords="offset points",
            fontsize=5.5,
            color=GREY,
            ha="right",
        )
    if name == "retrains_per_request":
        axes.set_ylim(bottom=0)
    axes.axvline(result["capacity"], color=GREY, linewidth=0.6, linestyle="--", zorder=1)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_formatter(NullFormatter())
    if name.endswith("_s"):
        ticks(axes)
        axes.set_xlabel("requests that come per second")
    else:
        axes.yaxis.set_major_formatter(plain)
    if name == "throughput":
        axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axes.minorticks_off()


def ticks(axes: Axes) -> None:
    """Times a person would say."""
    low, high = axes.get_ylim()
    times = [
        seconds
        for seconds in (1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400)
        if low <= seconds <= high
    ]
    axes.set_yticks(times, [spoken(seconds) for seconds in times])
    axes.minorticks_off()


def spoken(seconds: float) -> str:
    """Seconds in the largest unit that divides them: 10 min."""
    size, unit = next((size, unit) for size, unit in UNITS if seconds % size == 0)
    return f"{seconds / size:g} {unit}"


def said(result: dict[str, Any]) -> list[str]:
    """Where the numbers come from."""
    times = result["times"]
    scale = (
        f", times {result['scale']:g} to stand for larger shards" if result["scale"] != 1 else ""
    )
    where = f"over {result['lanes']:,} shards and {result['slots']} GPUs, by the scheduler itself"
    about = (
        f"{times['shards']} shards, {times['one_class']} of one class, which train nothing; "
        f"measured on one core, {times['machine']['cpu']}"
    )
    return [
        f"Simulated: {result['requests']:,} requests at each point, and then none, {where}. "
        f"Dashed: {result['capacity']:.3g} requests a second, what the GPUs can do without "
        "sharing.",
        f"Retrains: the quickstart's ({about}){scale}: {result['retrain_mean_s']:.3g} s for a "
        f"request on average. A publication: {result['overhead']:g} s. Seed {result['seed']}.",
    ]
