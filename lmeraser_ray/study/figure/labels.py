"""Names beside points and at the ends of lines, none over another. A hair line leads from a point
to a name that stands far from it.

Names are placed in their order, and depend on nothing but the arguments.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.study.figure.style import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
SIZE = 5.5
"""The size of a label, in points."""
TURNS = 16
REACH = (5, 8, 12, 17, 23, 30, 38, 47, 57, 68, 80, 95, 110, 130)
"""Distances in points from a point to its label, tried in this order."""
NOT_FAR = 6
"""How many distances of `REACH` count as near by."""
NEAR = 9
"""The distance in points up to which a label needs no hair line."""


Pixel = NDArray[np.float64]
"""A place in pixels [2]."""
Line = Sequence[tuple[float, float]]
"""The corners of a line in data coordinates."""


class Box(NamedTuple):
    """A rectangle in pixels. Matplotlib's own holds an array, which is slow to make and to read (40
    names took 1.2 s with it, and 0.5 s with this)."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Named:
    """A point in data coordinates and its name."""

    x: float
    y: float
    text: str
    colour: str


def name_points(
    axes: "Axes",
    points: Sequence[Named],
    *,
    avoid: Sequence[Line] = (),
    rather_not: Sequence[Line] = (),
) -> list[str]:
    """Write each name near its point, over no other name, no other point and nothing outside of the
    axes. Returns the names without room.

    avoid: lines that no name may cross; rather_not: lines that a name crosses only where it would
    stand far away otherwise. The figure's layout is settled first and stays.
    """
    figure = axes.figure.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes are in no figure")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    page = Page(Box(*axes.get_window_extent().extents), figure.dpi / 72)
    places = [axes.transData.transform((point.x, point.y)) for point in points]
    page.taken += [around(place, 2.6 * page.pixels) for place in places]
    for boxes, lines in ((page.taken, avoid), (page.soft, rather_not)):
        for line in lines:
            boxes.extend(page.along([axes.transData.transform(corner) for corner in line]))
    return [
        point.text
        for point, place in zip(points, places, strict=True)
        if not write_name(axes, page, point, place)
    ]


def write_name(axes: "Axes", page: "Page", point: Named, place: Pixel) -> bool:
    """Write a name near its point, with a hair line where it stands far from it. Returns whether
    there was room."""
    label = axes.annotate(
        point.text,
        (point.x, point.y),
        (0, 0),
        textcoords="offset points",
        fontsize=SIZE,
        color=point.colour,
    )
    label.set_horizontalalignment("center")
    label.set_verticalalignment("center")
    box = label.get_window_extent()
    offset = page.room(place, box.width, box.height)
    if offset is None:
        label.remove()
        return False
    label.set_position((offset[0] / page.pixels, offset[1] / page.pixels))
    if (edge := page.take(place, Box(*label.get_window_extent().extents))) is not None:
        x, y = axes.transData.inverted().transform(edge)
        style: dict[str, Any] = {"color": GREY, "linewidth": 0.35, "zorder": 1}
        axes.plot([point.x, x], [point.y, y], **style, scalex=False, scaley=False)
    return True


@dataclass
class Page:
    """What is taken of the axes' window: by points and lines that must stay free (`taken`), by
    names, by hair lines, and by lines that a name should rather not cross (`soft`). In pixels;
    pixels: how many a point has."""

    window: Box
    pixels: float
    taken: list[Box] = field(default_factory=list)
    names: list[Box] = field(default_factory=list)
    hairs: list[Box] = field(default_factory=list)
    soft: list[Box] = field(default_factory=list)

    def room(self, place: Pixel, width: float, height: float) -> tuple[float, float] | None:
        """Return where the middle of a label can lie, relative to its point: the nearest free
        place, to the right first; None where there is none.

        Tries places near by that cross nothing, then places over soft lines, then places over hair
        lines or with a hair line that crosses names.
        """
        for reaches, obstacles, crossed in (
            (REACH[:NOT_FAR], [*self.taken, *self.hairs, *self.soft], self.names),
            (REACH, [*self.taken, *self.hairs], self.names),
            (REACH, self.taken, []),
        ):
            for reach, turn in itertools.product(reaches, range(TURNS)):
                angle = 2 * np.pi * ((turn + 1) // 2 * (1 if turn % 2 else -1)) / TURNS
                # The label's near side is `reach` away, whatever its width.
                x = float(np.cos(angle)) * (reach * self.pixels + width / 2)
                y = float(np.sin(angle)) * (reach * self.pixels + height / 2)
                box = around(place + np.array([x, y]), width / 2, height / 2)
                if (
                    self.inside(box)
                    and not touches([box], [*obstacles, *self.names])
                    and not touches(self.to(place, box), crossed)
                ):
                    return x, y
        return None

    def to(self, place: Pixel, box: Box) -> list[Box]:
        """Return the boxes along the hair line from a point to its label, if it needs one."""
        end = self.hair(place, box)
        return [] if end is None else self.along([place, end])

    def take(self, place: Pixel, box: Box) -> Pixel | None:
        """Take the room of a label and of its hair line. Returns where the hair line ends, None
        where the label needs none."""
        margin = 0.6 * self.pixels
        self.names.append(Box(box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin))
        self.hairs += self.to(place, box)
        return self.hair(place, box)

    def hair(self, place: Pixel, box: Box) -> Pixel | None:
        """Return where a hair line from a point meets its label, None where they are close."""
        edge: Pixel = np.clip(place, [box.x0, box.y0], [box.x1, box.y1])
        return edge if np.hypot(*(edge - place)) > NEAR * self.pixels else None

    def inside(self, box: Box) -> bool:
        """Whether a box lies within the window."""
        window = self.window
        return (
            window.x0 <= box.x0
            and box.x1 <= window.x1
            and window.y0 <= box.y0
            and box.y1 <= window.y1
        )

    def along(self, corners: Sequence[Pixel]) -> list[Box]:
        """Return small boxes along a line."""
        found = []
        for a, b in itertools.pairwise(corners):
            count = int(np.hypot(*(b - a)) / (2 * self.pixels)) + 1
            found += [around(a + (b - a) * i / count, 0.5 * self.pixels) for i in range(count + 1)]
        return found


def around(place: Pixel, half: float, high: float | None = None) -> Box:
    """Return the box that reaches `half` to each side of a place, and `high` up and down."""
    tall = half if high is None else high
    return Box(
        float(place[0]) - half,
        float(place[1]) - tall,
        float(place[0]) + half,
        float(place[1]) + tall,
    )


def touches(ours: Sequence[Box], theirs: Sequence[Box]) -> bool:
    """Whether any two boxes share an area."""
    return any(
        a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1 for a in ours for b in theirs
    )


def name_ends(axes: "Axes", ends: Sequence[Named]) -> None:
    """Write the names of lines right of the axes, each as near as possible to the height at which
    its line ends (in data coordinates).

    ends: the last point of each line. All names stand in one column, a line of text apart.
    """
    low, high = axes.get_ylim()
    figure = axes.figure.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes are in no figure")
    figure.draw_without_rendering()
    step = SIZE * 1.25 * figure.dpi / 72 / axes.get_window_extent().height
    heights = [
        (float(axes.transData.transform((end.x, end.y))[1]) - axes.get_window_extent().y0)
        for end in ends
    ]
    wanted = np.array(heights) / axes.get_window_extent().height
    for end, height, at in zip(ends, wanted, apart(wanted, step), strict=True):
        x = axes.transAxes.inverted().transform(axes.transData.transform((end.x, end.y)))[0]
        axes.plot(
            [x, 1.0, 1.03],
            [height, height, at],
            transform=axes.transAxes,
            color=end.colour,
            linewidth=0.35,
            clip_on=False,
        )
        axes.text(
            1.04,
            at,
            end.text,
            transform=axes.transAxes,
            fontsize=SIZE,
            color=end.colour,
            va="center_baseline",
        )
    axes.set_ylim(low, high)


def apart(wanted: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Move heights [m] as little as possible, so that each two are at least `step` apart:
    neighbours that collide are spread around their common mean (pool adjacent violators)."""
    order = np.argsort(wanted, kind="stable")
    groups: list[list[float]] = []  # [sum of (wanted - place within the group), members]
    for height in wanted[order]:
        groups.append([float(height), 1])
        while (
            len(groups) > 1
            and groups[-1][0] / groups[-1][1] < groups[-2][0] / groups[-2][1] + step * groups[-2][1]
        ):
            total, count = groups.pop()
            below, members = groups.pop()
            groups.append([below + total - step * members * count, members + count])
    found = np.empty(len(wanted))
    places = [total / count + step * i for total, count in groups for i in range(int(count))]
    found[order] = places
    return found
