"""Standard output and error that never fail: what is printed never decides the work.

    a character that the encoding lacks       its likeness in ASCII, else its escape
    a full disk, a reader that went away      what cannot be written is dropped
    a descriptor that is closed               /dev/null, so that no file of ours gets its number

Invariant: a write returns, whatever becomes of the text. Imports only what is loaded at the start
of a process, because every command begins here.
"""

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

DEGRADE = "lmeraser.degrade"
LIKENESS = {
    **dict.fromkeys("─━═╌╍┄┅┈┉╴╶╸╺‐‑‒–—−", "-"),
    **dict.fromkeys("│┃║╎╏┆┇┊┋╵╷╹╻", "|"),
    **dict.fromkeys("‘’‚", "'"),
    **dict.fromkeys("“”„", '"'),
    "…": "...",
    "→": "->",
    "←": "<-",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "×": "x",
    "·": ".",
    "±": "+/-",
    "•": "*",
    "\u00a0": " ",
    "\u202f": " ",
}
"""ASCII for the signs that tables and sentences are set with."""
CORNERS, BLOCKS = range(0x2500, 0x2580), range(0x2580, 0x25A0)


class Outlet(io.RawIOBase):
    """A descriptor to write to. owner: whose descriptor it is, kept open by being kept; lost: why
    something could not be written, None where all was."""

    def __init__(self, descriptor: int, owner: object = None) -> None:
        self._descriptor, self._owner = descriptor, owner
        self.lost: int | None = None

    def write(self, data: object) -> int:
        """Write bytes, or drop them where the descriptor takes none. Returns how many are done
        with."""
        view = memoryview(data)  # type: ignore[arg-type]
        while True:
            try:
                return os.write(self._descriptor, view)
            except BlockingIOError:
                self._wait()
            except OSError as error:
                self.lost = error.errno
                return len(view)

    def _wait(self) -> None:
        """Wait until a descriptor that does not block (a pipe of another program) takes more."""
        import select

        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)


class SteadyText(io.TextIOWrapper):
    """A text stream over an `Outlet`."""

    def __init__(self, outlet: Outlet, encoding: str, *, by_line: bool, at_once: bool) -> None:
        codecs.register_error(DEGRADE, degraded)
        self.outlet = outlet
        super().__init__(
            io.BufferedWriter(outlet),
            encoding,
            DEGRADE,
            line_buffering=by_line,
            write_through=at_once,
        )


def degraded(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII for the characters that an encoding lacks, and where they end: a handler of
    `codecs.register_error`. Errors: `error` where nothing is encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(likeness, error.object[error.start : error.end])), error.end


def likeness(character: str) -> str:
    """Return what stands for a character in ASCII: a likeness, else its escape."""
    if character in LIKENESS:
        return LIKENESS[character]
    if ord(character) in CORNERS:
        return "+"
    if ord(character) in BLOCKS:
        return "#"
    return character.encode("ascii", "backslashreplace").decode()


def steady(stream: TextIO | None) -> TextIO:
    """Return a stream that writes where this one does and never fails. A stream without a
    descriptor is its own; none at all is /dev/null."""
    if isinstance(stream, SteadyText):
        return stream
    if stream is None:
        nowhere = Outlet(os.open(os.devnull, os.O_WRONLY))
        return SteadyText(nowhere, "utf-8", by_line=False, at_once=False)
    try:
        outlet = Outlet(stream.fileno(), stream)
    except (OSError, ValueError):  # of a notebook, of a test; or closed
        return steady(None) if stream.closed else stream
    return SteadyText(
        outlet,
        stream.encoding or "utf-8",
        by_line=bool(stream.line_buffering) or outlet.isatty(),
        at_once=bool(getattr(stream, "write_through", False)),
    )


def steady_streams() -> None:
    """Have this process print to streams that never fail."""
    occupy()
    sys.stdout, sys.stderr = steady(sys.stdout), steady(sys.stderr)


def occupy() -> None:
    """Open /dev/null in the place of standard descriptors that are closed. The next file that this
    process opens would have the number, and get what C libraries print."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)


def why_lost(stream: TextIO | None) -> str | None:
    """Return why something that was printed to a stream is lost, in the system's words. None where
    all was written, or where the reader wanted no more."""
    if not isinstance(stream, SteadyText):
        return None
    stream.flush()
    lost = stream.outlet.lost
    return None if lost in (None, errno.EPIPE) else os.strerror(lost)


def on_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; no stream, and a closed one, is none."""
    with suppress(ValueError):
        return stream is not None and stream.isatty()
    return False


def print_line(text: str) -> None:
    """Write a line to stderr, or nowhere."""
    with suppress(OSError, ValueError):  # full, gone, closed
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
