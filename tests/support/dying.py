"""Commands that die at a chosen change of the disk: each in a process of its own, by kill -9, so
that the kernel takes back what it held.

The process comes from multiprocessing's fork server, which has imported everything and run nothing:
it is there in milliseconds, and no thread of the tests' own process is forked with it. A change is
a call of one of `EFFECTS` of `os`, or the moment right before or right after a COMMIT of the
request database; what SQLite itself writes between the two cannot be watched from here. Only the
main thread's changes are counted, so that their numbers are the same in each run: the heart of the
queue beats when it likes.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from lmeraser_ray.storage.database import database

EFFECTS = ("replace", "link", "unlink", "mkdir", "rmdir", "fsync", "truncate", "ftruncate")
COMMITS = ("committing", "committed")
truncate = os.truncate
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "lmeraser_ray.operations.unlearn",
        "lmeraser_ray.operations.verify",
        "pyarrow.dataset",
        "torch._dynamo",
        "pytest",
    ]
)


@dataclass(frozen=True)
class End:
    """How a command ended. changes: how many it came to; point: the one that it died at, None where
    it got through."""

    changes: int
    point: str | None


@dataclass
class Disk:
    """Counts the changes, and kills the process before the `fatal`-th."""

    fatal: int | None
    told: Connection
    count: int = 0

    def watch(self) -> None:
        """Put the failpoints in place, for the rest of this process."""
        for name in EFFECTS:
            setattr(os, name, self.watched(name, getattr(os, name)))
        for name in COMMITS:
            setattr(database, name, self.watched(name, getattr(database, name)))

    def watched(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        """A function that changes the disk."""

        def change(*args: object, **options: object) -> object:
            counts = threading.current_thread() is threading.main_thread()
            if counts and not (name == "fsync" and os.path.isdir(f"/proc/self/fd/{args[0]}")):  # noqa: PTH112
                self.reach(name, *args)
            return real(*args, **options)

        return change

    def reach(self, name: str, *args: object) -> None:
        """One more change; the last one where it is the fatal one. A file that was being synced is
        half there."""
        self.count += 1
        if self.count != self.fatal:
            return
        if name == "fsync":
            truncate(args[0], os.fstat(args[0]).st_size // 2)  # type: ignore[arg-type, call-overload]
        self.told.send(End(self.count, " ".join([name, *(Path(str(arg)).name for arg in args)])))
        os.kill(os.getpid(), signal.SIGKILL)


def run(command: Callable[..., object], *args: object, fatal: int | None = None) -> End:
    """Run a command (importable, with arguments that can be pickled) in a new process that dies at
    its `fatal`-th change."""
    listen, tell = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=_carry_out, args=(tell, fatal, command, args))
    process.start()
    tell.close()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), (
        f"the command ended with {process.exitcode} and not by our hand"
    )
    end = listen.recv()
    assert isinstance(end, End)
    assert (end.point is None) == (process.exitcode == 0)
    return end


def _carry_out(
    tell: Connection, fatal: int | None, command: Callable[..., object], args: tuple[object, ...]
) -> None:
    """In the new process."""
    disk = Disk(fatal, tell)
    disk.watch()
    command(*args)
    tell.send(End(disk.count, None))
