"""What a person sees while the code waits for something that it cannot hurry: a sentence on stderr
after five seconds, and then now and then. It names no record."""

import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

FIRST_S, THEN_S, STEP_S = 5.0, 30.0, 0.5
"""Seconds until the first sentence, between two, and between two looks at the clock."""
WHOLE_LINE = "\r\x1b[2K"
"""On a terminal: in the place of the last line, which may be a bar."""


class Waiting:
    """Says what is waited for, while the context lasts and nothing comes. `what` completes the
    sentence "waiting …"; where it is a function, it is called each time. silent: say nothing."""

    def __init__(self, what: str | Callable[[], str], *, silent: bool = False) -> None:
        self._what, self._silent = what, silent
        self._over, self._handle, self._since = threading.Event(), -1, 0.0
        self._thread = threading.Thread(target=self._run, name="lmeraser-waiting", daemon=True)

    def __enter__(self) -> "Waiting":
        self.came()
        if not self._silent:
            with suppress(OSError):  # stderr is closed: nobody listens
                self._handle = os.dup(2)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def came(self) -> None:
        """Count anew: something of what is waited for has come."""
        self._since = time.monotonic()

    def _run(self) -> None:
        said = -math.inf
        while not self._over.wait(STEP_S):
            now = time.monotonic()
            if now >= max(self._since + FIRST_S, said + THEN_S):
                said = now
                with suppress(Exception):  # `what` asks what is being left at this moment
                    what = self._what if isinstance(self._what, str) else self._what()
                    if not self._over.is_set():
                        say(self._handle, f"waiting {what}, for {now - self._since:.0f} s so far")
        with suppress(OSError):
            os.close(self._handle)


def say(handle: int, text: str) -> None:
    """Write a sentence of this program to a descriptor. Output never decides the work."""
    with suppress(OSError):
        start = WHOLE_LINE if os.isatty(handle) else ""
        os.write(handle, f"{start}lmeraser: {text}\n".encode())
