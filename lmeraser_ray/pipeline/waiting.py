"""What a person sees while the code waits for something that it cannot hurry: a sentence on stderr
after five seconds, and then now and then. It names no record."""

import os
import threading
import time
from contextlib import suppress
from types import TracebackType

FIRST_S, THEN_S = 5.0, 30.0


class Waiting:
    """Says what is waited for, while the context lasts. `what` completes the sentence "waiting
    …"."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._over, self._handle = threading.Event(), -1
        self._thread = threading.Thread(target=self._run, name="lmeraser-waiting", daemon=True)

    def __enter__(self) -> "Waiting":
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

    def _run(self) -> None:
        begun, pause = time.monotonic(), FIRST_S
        while not self._over.wait(pause):
            pause = THEN_S
            say(
                self._handle,
                f"lmeraser: waiting {self._what}, for {time.monotonic() - begun:.0f} s so far",
            )
        with suppress(OSError):
            os.close(self._handle)


def say(handle: int, text: str) -> None:
    """Write a line to a descriptor. Output never decides the work."""
    with suppress(OSError):
        os.write(handle, f"{text}\n".encode())
