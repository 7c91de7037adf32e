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

WIDTH = 100
PADDING = 3
"""Columns around each cell, the line between two cells included."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table as text. left: the number of columns that are aligned to the left; those after
    them are aligned to the right.

    The table fits the terminal, or `WIDTH` columns where stdout is none: headings are broken
    between words for that, values never are, so that a table of wide values is wider.
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
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    widths = whole if sum(whole) + PADDING * len(head) <= room else broken
    drawn = Table(box=SIMPLE_HEAD, show_edge=False)
    for at, (name, wide) in enumerate(zip(head, widths, strict=True)):
        drawn.add_column(Text(name), justify="left" if at < left else "right", width=wide)
    for row in cells:
        drawn.add_row(*map(Text, row))
    sink = StringIO()
    Console(file=sink, width=sum(widths) + PADDING * len(head), color_system=None).print(drawn)
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines())
