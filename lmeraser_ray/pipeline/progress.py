"""What a person sees while work goes on: bars on stderr with a rate and a remaining time, and the
seconds of each stage.

Silent where stderr is not a terminal. Never shows a record id.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from lmeraser_ray.pipeline.outlet import on_terminal, steady

if TYPE_CHECKING:  # imported for the first bar: most commands show none
    from rich.progress import Progress as Bars
    from rich.progress import Task
    from rich.text import Text


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, where bars are shown by
    ipywidgets."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


class Progress:
    """The bars and the stage times of one command."""

    def __init__(self, *, quiet: bool | None = None) -> None:
        self.quiet = not on_terminal(sys.stderr) if quiet is None else quiet
        self.seconds: dict[str, float] = {}
        self._within: list[str] = []
        self._since = 0.0

    def say(self, text: str) -> None:
        """Print a line about what comes next, above the bars."""
        if not self.quiet:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage. Stages of one name are summed; the time of a stage within another one does
        not count for the outer one."""
        self._count()
        self._within.append(name)
        try:
            yield
        finally:
            self._count()
            self._within.pop()

    def _count(self) -> None:
        """Add the time since the last change of stage to the stage under way."""
        now = time.perf_counter()
        if self._within:
            name = self._within[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def bar(self, what: str, total: int | None, unit: str) -> Iterator[Callable[[int], object]]:
        """Show a bar; the yielded function moves it by a number of units. A bar within another one
        is drawn below it, and each is removed at its end. total: None where nobody knows."""
        if self.quiet or total == 0:
            yield lambda _: None
            return
        bars = self._bars
        task = bars.add_task(what, total=total, unit=unit)
        bars.start()
        try:
            yield lambda units: bars.advance(task, units)
        finally:
            bars.remove_task(task)
            if not bars.tasks:
                bars.stop()

    @cached_property
    def _bars(self) -> "Bars":
        """All bars of this command: only one display at a time can draw on a terminal."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            """Units a second."""

            def render(self, task: "Task") -> "Text":
                """Return the rate of a bar; empty at its beginning."""
                speed = "" if task.speed is None else f"{task.speed:,.0f} {task.fields['unit']}/s"
                return Text(speed, style="cyan")

        return Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            console=Console(file=steady(sys.stderr)),
            transient=True,
            redirect_stdout=False,
        )

    def rounded(self) -> dict[str, float]:
        """Return the seconds of each stage, to the millisecond, and of all as `total`."""
        total = round(sum(self.seconds.values()), 3)
        return {**{name: round(value, 3) for name, value in self.seconds.items()}, "total": total}
