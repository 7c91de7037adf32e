"""The one look of all tables that verbs print.

>>> print(table(["shard", "size"], [["0", "7"], ["12", "135"]]))
 shard   size
──────────────
 0          7
 12       135
"""

import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import JustifyMethod

from lmeraser_ray.pipeline.outlet import on_terminal

WIDTH = 100
NARROWEST = 16
"""Columns that the first column has at least where its names are longer."""
PADDING = 3
"""Columns around each cell, the line between two cells included."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table as text. left: the number of columns that are aligned to the left; those after
    them are aligned to the right.

    The table fits the terminal, or `WIDTH` columns where stdout is none: headings are broken
    between words for that, then names in the first column, to no less than `NARROWEST`. Values
    never are, so that a table of many wide values is wider.
    """
    from rich.box import SIMPLE_HEAD  # here, so that verbs without a table begin sooner
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    values = [max((len(row[at]) for row in cells), default=0) for at in range(len(head))]
    broken = [
        max(wide, *map(len, name.split() or [""])) for name, wide in zip(head, values, strict=True)
    ]
    whole = [max(wide, len(name)) for name, wide in zip(head, values, strict=True)]
    room = shutil.get_terminal_size().columns if on_terminal(sys.stdout) else WIDTH
    widths = whole if sum(whole) + PADDING * len(head) <= room else broken
    over = sum(widths) + PADDING * len(head) - room
    if left and over > 0:
        widths[0] = max(min(widths[0], NARROWEST), widths[0] - over)
    drawn = Table(box=SIMPLE_HEAD, show_edge=False)
    for at, (name, wide) in enumerate(zip(head, widths, strict=True)):
        side: JustifyMethod = "left" if at < left else "right"
        drawn.add_column(Text(name), justify=side, width=wide, overflow="fold")
    for row in cells:
        names = [name_in(name, wide) for name, wide in zip(row[:left], widths, strict=False)]
        drawn.add_row(*map(Text, [*names, *row[left:]]))
    sink = StringIO()
    Console(file=sink, width=sum(widths) + PADDING * len(head), color_system=None).print(drawn)
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines())


def name_in(name: str, width: int) -> str:
    """Return a name in lines of a width, broken after its signs where that is possible.

    >>> name_in("partition.threshold=0.02", 16)
    'partition.\\nthreshold=0.02'
    """
    lines = [""]
    for part in re.findall(r".*?[=._/ -]+|.+$", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
