"""Names beside points and at the ends of lines, none over another; where there is no room near by, a hair line leads to the name.

Both are functions of their arguments: first come, first placed.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmeraser_ray.drawing.style import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

SIZE = 5.5
"""Points of a label."""
TURNS = 16
REACH = (5, 8, 12, 17, 23, 30, 38, 47, 57, 68, 80, 95, 110, 130)
"""Points from a point to its label, tried in this order."""
NEAR = 9
"""Points up to which a label needs no hair line."""


@dataclass(frozen=True)
class Named:
    """A point in data coordinates and its name."""

    x: float
    y: float
    text: str
    colour: str


def name_points(axes: "Axes", points: Sequence[Named], *, avoid: Sequence[tuple[float, float]] = ()) -> list[str]:
    """Write each name near its point, over no other name, no other point and nothing outside the axes. Returns the names without room.

    avoid: the corners of a line, in data coordinates, that no name may cross. The figure's layout is settled first and stays.
    """
    figure = axes.figure.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes are in no figure")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    window = axes.get_window_extent()
    pixels = figure.dpi / 72
    places = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [around(place, 2.6 * pixels) for place in places]
    taken += along([axes.transData.transform(corner) for corner in avoid], 3 * pixels)
    unnamed = []
    for point, place in zip(points, places, strict=True):
        label = axes.annotate(point.text, (point.x, point.y), (0, 0), textcoords="offset points", fontsize=SIZE, color=point.colour)
        label.set_horizontalalignment("center")
        label.set_verticalalignment("center_baseline")
        box = label.get_window_extent()
        offset = free_place(place, (box.width, box.height), pixels, taken, window)
        if offset is None:
            label.remove()
            unnamed.append(point.text)
            continue
        label.set_position((offset[0] / pixels, offset[1] / pixels))
        placed = label.get_window_extent()
        taken.append(placed.padded(0.6 * pixels))
        hair(axes, point, place, placed, pixels)
    return unnamed


def free_place(
    place: np.ndarray, size: tuple[float, float], pixels: float, taken: Sequence["Bbox"], window: "Bbox"
) -> tuple[float, float] | None:
    """Where the middle of a label can lie, from its point, in pixels: the nearest free place, to the right first."""
    width, height = size
    for reach in REACH:
        for turn in range(TURNS):
            angle = 2 * np.pi * ((turn + 1) // 2 * (1 if turn % 2 else -1)) / TURNS
            east, north = np.cos(angle), np.sin(angle)
            # The label's near side is `reach` away, whatever its width.
            offset = (east * (reach * pixels + width / 2), north * (reach * pixels + height / 2))
            box = around(place + np.array(offset), width / 2, height / 2)
            inside = window.x0 <= box.x0 and box.x1 <= window.x1 and window.y0 <= box.y0 and box.y1 <= window.y1
            if inside and not any(overlap(box, other) for other in taken):
                return offset
    return None


def hair(axes: "Axes", point: Named, place: np.ndarray, box: "Bbox", pixels: float) -> None:
    """A thin line from a point to the nearest edge of a label that is not beside it."""
    edge = np.clip(place, [box.x0, box.y0], [box.x1, box.y1])
    if np.hypot(*(edge - place)) <= NEAR * pixels:
        return
    end = axes.transData.inverted().transform(edge)
    axes.plot([point.x, end[0]], [point.y, end[1]], color=GREY, linewidth=0.35, zorder=1, scalex=False, scaley=False)


def around(place: np.ndarray, half: float, high: float | None = None) -> "Bbox":
    """The box around a place."""
    from matplotlib.transforms import Bbox

    tall = half if high is None else high
    return Bbox.from_extents(place[0] - half, place[1] - tall, place[0] + half, place[1] + tall)


def along(corners: Sequence[np.ndarray], step: float) -> list["Bbox"]:
    """Small boxes along a line, in pixels."""
    found = []
    for a, b in itertools.pairwise(corners):
        count = int(np.hypot(*(b - a)) / step) + 1
        found += [around(a + (b - a) * i / count, step / 6) for i in range(count + 1)]
    return found


def overlap(a: "Bbox", b: "Bbox") -> bool:
    """Whether two boxes share an area."""
    return bool(a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1)


def name_ends(axes: "Axes", ends: Sequence[Named]) -> None:
    """Write the names of lines right of the axes, each as near as may be to the height at which its line ends (in data coordinates).

    ends: the last point of each line. All names stand in one column, a line of text apart.
    """
    low, high = axes.get_ylim()
    figure = axes.figure.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes are in no figure")
    figure.draw_without_rendering()
    step = SIZE * 1.25 * figure.dpi / 72 / axes.get_window_extent().height
    heights = [(float(axes.transData.transform((end.x, end.y))[1]) - axes.get_window_extent().y0) for end in ends]
    wanted = np.array(heights) / axes.get_window_extent().height
    for end, height, at in zip(ends, wanted, apart(wanted, step), strict=True):
        x = axes.transAxes.inverted().transform(axes.transData.transform((end.x, end.y)))[0]
        axes.plot([x, 1.0, 1.03], [height, height, at], transform=axes.transAxes, color=end.colour, linewidth=0.35, clip_on=False)
        axes.text(1.04, at, end.text, transform=axes.transAxes, fontsize=SIZE, color=end.colour, va="center_baseline")
    axes.set_ylim(low, high)


def apart(wanted: np.ndarray, step: float) -> np.ndarray:
    """Heights [m] moved as little as need be, so that each two are at least `step` apart: neighbours that collide share their middle
    (pool adjacent violators)."""
    order = np.argsort(wanted, kind="stable")
    groups: list[list[float]] = []  # [sum of (wanted - place within the group), members]
    for height in wanted[order]:
        groups.append([float(height), 1])
        while len(groups) > 1 and groups[-1][0] / groups[-1][1] < groups[-2][0] / groups[-2][1] + step * groups[-2][1]:
            total, count = groups.pop()
            below, members = groups.pop()
            groups.append([below + total - step * members * count, members + count])
    found = np.empty(len(wanted))
    places = [total / count + step * i for total, count in groups for i in range(int(count))]
    found[order] = places
    return found
