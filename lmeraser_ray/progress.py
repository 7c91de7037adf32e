"""What a person sees while work goes on: bars on stderr with a rate and a remaining time, and the seconds of each stage.

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

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; a stage that runs twice is summed."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def bar(self, what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """A bar that is moved by calling what this yields."""
        with tqdm(desc=what, total=total, unit=unit, disable=self.quiet or total == 0, file=sys.stderr, leave=False) as bar:
            yield lambda amount: bar.update(amount) and None

    def rounded(self) -> dict[str, float]:
        """The seconds of each stage, to the millisecond."""
        return {name: round(value, 3) for name, value in self.seconds.items()}
