"""The stop signal of a service: Ctrl-C or SIGTERM once asks for an orderly end, twice ends at once.

The handler only writes to a pipe and to stderr, so that it is safe whatever lock the main thread
holds at that moment; `wait` polls the pipe.
"""

import os
import select
import signal
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether someone asked for the end. message: what is printed to stderr then."""

    def __init__(self, message: str = "") -> None:
        self._message = message
        self._read, self._write = os.pipe()
        self._close = weakref.finalize(self, close, self._read, self._write)
        self._poll = select.poll()  # and not `select`, which takes no descriptor above 1,023
        self._poll.register(self._read, select.POLLIN)
        self.asked = False

    def ask(self) -> None:
        """Ask for an orderly end. Errors: `KeyboardInterrupt` from the second time on."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(self._write, b"stop")
        if self._message:
            with suppress(OSError):  # a terminal that is gone
                os.write(2, f"{self._message}\n".encode())

    def wait(self, seconds: float) -> bool:
        """Wait until the end is asked for, `seconds` at most. Returns whether it is."""
        return bool(self._poll.poll(1000 * seconds))

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Have signals ask while the context lasts. For the main thread only."""

        def handle(_: int, __: FrameType | None) -> None:
            self.ask()

        before = {number: signal.signal(number, handle) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._close()


def close(*handles: int) -> None:
    """Close descriptors."""
    for handle in handles:
        os.close(handle)
