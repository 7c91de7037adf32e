"""What a person sees while work goes on: bars on stderr with a rate and a remaining time, and the
seconds of each stage.

Quiet where stderr is not a terminal. Never shows a record id.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


class Progress:
    """Bars and stage times of one command."""

    def __init__(self, *, quiet: bool | None = None) -> None:
        self.quiet = not sys.stderr.isatty() if quiet is None else quiet
        self.seconds: dict[str, float] = {}
        self._within: list[str] = []
        self._since = 0.0

    def say(self, text: str) -> None:
        """A line about what comes next, above the bars."""
        if not self.quiet:
            tqdm.write(text, file=sys.stderr)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; one that runs twice is summed, one within another is not counted in the
        outer."""
        self._count()
        self._within.append(name)
        try:
            yield
        finally:
            self._count()
            self._within.pop()

    def _count(self) -> None:
        """Give the time since the last change of stage to the stage under way."""
        now = time.perf_counter()
        if self._within:
            name = self._within[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def bar(self, what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        """A bar that is moved by calling what this yields."""
        with tqdm(
            desc=what,
            total=total,
            unit=unit,
            disable=self.quiet or total == 0,
            file=sys.stderr,
            leave=False,
        ) as bar:
            yield bar.update

    def rounded(self) -> dict[str, float]:
        """The seconds of each stage, to the millisecond."""
        return {name: round(value, 3) for name, value in self.seconds.items()}
