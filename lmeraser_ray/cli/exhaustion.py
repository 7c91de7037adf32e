"""Memory, descriptors or threads that ran out, wherever that was noticed: one sentence.

    >>> exhausted(MemoryError())
    'The memory'
    >>> exhausted(ValueError("other")) is None
    True

Invariant: nothing published is lost by it: every write is atomic, and an acknowledged request is in
the database.
"""

import errno
import resource
from collections.abc import Iterator

from lmeraser_ray.errors import ExecutionError

DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
THREADS = ("can't start new thread", "can't allocate lock")
NO_MEMORY = (
    *("Cannot allocate memory", "can't allocate memory", "not enough memory"),
    *("failed to map segment", "cannot allocate"),
)
"""What C libraries say in other types of errors: the loader, torch, NumPy."""
NO_DESCRIPTORS = ("Too many open files",)


MEGABYTES, FILES = 512, 16
"""Limits of a process below which libraries written in C end it without a word to Python."""


def require_limits() -> None:
    """Errors: `ExecutionError` where this process may have less than a command needs at least."""
    for limit, least, unit, what in (
        (resource.RLIMIT_AS, MEGABYTES, 1 << 20, "megabytes of memory (`ulimit -v`)"),
        (resource.RLIMIT_NOFILE, FILES, 1, "open files (`ulimit -n`)"),
    ):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and soft < least * unit:
            raise ExecutionError(
                f"This process may have {soft // unit} {what}, and needs {least} at least: raise "
                "the limit."
            )


def exhausted(error: BaseException) -> str | None:
    """What ran out, None where the error has another cause."""
    for each in causes(error):
        number, said = getattr(each, "errno", None), str(each)
        if number in DESCRIPTORS or any(words in said for words in NO_DESCRIPTORS):
            return "The number of open files"
        if isinstance(each, MemoryError) or number == errno.ENOMEM:
            return "The memory"
        if any(words in said for words in NO_MEMORY):
            return "The memory"
        if isinstance(each, RuntimeError) and any(words in said for words in THREADS):
            return "The number of threads, or the memory for one more,"
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it, up to one that was raised `from None`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def explained_exhaustion(what: str) -> ExecutionError:
    """The error that tells what ran out."""
    return ExecutionError(
        f"{what} that this process may have is used up. Nothing published or acknowledged is lost: "
        "raise the limit (`ulimit -a` shows it) and run the same command again."
    )
