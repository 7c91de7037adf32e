"""Ctrl-C and SIGTERM end a command with one sentence and exit code 130, from its first import on.

    while modules load, while Ray connects     at once: an exception that meets C++ there aborts
    the first one otherwise                    `KeyboardInterrupt`: what is open is closed
    another one, or one that Python dropped    at once

A process with a thread of C++ that never returns (Ray's core, where a head hangs) ends without
Python's own end, too, once all is said.

To end at once is as safe as `kill -9`: nothing published or acknowledged is lost. A signal that the
caller ignores (a job in the background of a script) stays ignored.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from lmeraser_ray.errors import INTERRUPTED

KEPT = "What is finished is kept: run the same command again to go on."
"""What holds of every command."""
SENTENCE = f"lmeraser: interrupted. {KEPT}"
SHOW_CURSOR = "\x1b[?25h"
LOADING = "<frozen importlib"
"""How the file names of Python's own import machinery begin."""


class Interruption:
    """What this process knows of its end. asked: whether a signal has come; delicate: how many
    contexts are open in which no exception may be raised; without_python: whether Python's own end
    of the process would meet threads of C++."""

    def __init__(self) -> None:
        self.asked = False
        self.delicate = 0
        self.without_python = False
        self.descriptor = 2

    def listen(self) -> None:
        """Handle both signals, and exceptions of theirs that Python drops. For the main thread."""
        with suppress(OSError):
            self.descriptor = os.dup(2)  # the engine hides what C++ writes to 2
        for number, usual in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
        ):
            if signal.getsignal(number) is usual:
                signal.signal(number, self.handle)
        before = sys.unraisablehook

        def dropped(what: "sys.UnraisableHookArgs") -> None:
            """End at once where a finalizer has swallowed the interruption."""
            if what.exc_type is KeyboardInterrupt:
                self.end_at_once()
            before(what)

        sys.unraisablehook = dropped

    def handle(self, _: int, frame: FrameType | None) -> None:
        """Handle a signal. Errors: `KeyboardInterrupt`."""
        if self.asked or self.delicate or loading(frame):
            self.end_at_once()
        self.asked = True
        raise KeyboardInterrupt

    def end_at_once(self) -> None:
        """Say the sentence, and end the process without a look at what is open."""
        with suppress(OSError):
            shown = SHOW_CURSOR if os.isatty(self.descriptor) else ""
            os.write(self.descriptor, f"{shown}{SENTENCE}\n".encode())
        os._exit(INTERRUPTED)


def loading(frame: FrameType | None) -> bool:
    """Return whether a frame runs within an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(LOADING):
            return True
        frame = frame.f_back
    return False


_process = Interruption()


def listen() -> None:
    """Have Ctrl-C and SIGTERM end this process as this module says."""
    _process.listen()


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let no signal raise an exception while the context lasts: each ends the process."""
    _process.delicate += 1
    try:
        yield
    finally:
        _process.delicate -= 1


def end_without_python() -> None:
    """Have this process end without Python's own end: a thread of C++ may never return."""
    _process.without_python = True


def leave(code: int) -> NoReturn:
    """End this process with an exit code. What is printed has been flushed."""
    if code == INTERRUPTED or _process.without_python:
        os._exit(code)
    sys.exit(code)
