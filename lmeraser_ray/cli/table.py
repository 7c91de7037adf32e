"""The one look of all tables that verbs print.

>>> print(table(["shard", "size"], [["0", "7"], ["12", "135"]]))
 shard   size
──────────────
 0          7
 12       135
"""

import shutil
import sys
from collections.abc import Iterable, Sequence
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 100
PADDING = 3
"""Columns around each cell, the line between two cells included."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table as text. left: the number of columns that are aligned to the left; those after
    them are aligned to the right.

    The table fits the terminal, or `WIDTH` columns where stdout is none: headings are broken
    between words for that, values never are, so that a table of wide values is wider.
    """
    drawn = Table(box=SIMPLE_HEAD, show_edge=False)
    cells = [list(row) for row in rows]
    least = 0
    for at, name in enumerate(head):
        widest = max(map(len, (*name.split(), *(row[at] for row in cells))), default=0)
        drawn.add_column(Text(name), justify="left" if at < left else "right", min_width=widest)
        least += widest + PADDING
    for row in cells:
        drawn.add_row(*map(Text, row))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    sink = StringIO()
    Console(file=sink, width=max(width, least), color_system=None).print(drawn)
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines())
