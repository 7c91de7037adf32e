"""Real processes that tests start, stop and kill: each is forked from a server that has imported
everything and run nothing, so that it starts in milliseconds and no thread of the tests is forked.

    parent: child = start(acts.work, …) ── pipe ── child: says where it is, waits, is killed there

What a child writes to stdout and stderr goes to files. A child that is killed is killed by the
kernel: no handler, no clean-up.
"""

import fcntl
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from lmeraser_ray.storage.file_lock import take

ROOT = Path(__file__).parents[2]
PRELOADED = [
    "tests.support.acts",
    "tests.support.desk_acts",
    "lmeraser_ray.erasure.queue.loop",
    "lmeraser_ray.operations.unlearn",
    "lmeraser_ray.operations.verify",
    "pyarrow.dataset",
    "torch._dynamo",
]
PATIENCE = 120.0
"""Seconds after which something that should happen has not: the machine may have other work."""
Point = tuple[str, int]
"""A failpoint: its name and the how manieth time that the child comes there."""


def context() -> ForkServerContext:
    """Return where children come from: the one fork server of this process, which must be able to
    import these tests."""
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(ROOT) not in before:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), *before]))
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED)
    return found


@dataclass
class Ended:
    """How a child ended. code: its exit code, negative for a signal; value: what the act returned;
    out, err: what it printed; died: the change of the disk that it died at; changes: how many it
    came to."""

    code: int
    value: Any
    out: str
    err: str
    died: str | None
    changes: int


@dataclass
class Child:
    """A process that runs one act."""

    process: ForkServerProcess
    pipe: Connection
    log: Path

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    def reached(self) -> str:
        """Wait until the child waits at the failpoint where it was to pause. Returns the
        failpoint's name."""
        assert self.pipe.poll(PATIENCE), (
            f"the child did not come to its failpoint: {self.printed('err')}"
        )
        try:
            kind, name = self.pipe.recv()
        except EOFError:
            raise AssertionError(
                f"the child ended before its failpoint: {self.printed('err')}"
            ) from None
        assert kind == "reached", (kind, name, self.printed("err"))
        return str(name)

    def go_on(self) -> None:
        """Let the child go on from its failpoint."""
        self.pipe.send("go on")

    def kill(self) -> None:
        """kill -9; nothing where it has ended and the fork server has asked for it."""
        self.process.kill()

    def stop(self) -> None:
        """`stop` of its process."""
        stop(self.pid)

    def wake(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self, seconds: float = PATIENCE) -> Ended:
        """Wait for the child's end."""
        said: dict[str, Any] = {}
        with suppress(EOFError, ConnectionResetError):
            while self.pipe.poll(seconds):
                kind, found = self.pipe.recv()
                said[kind] = found
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"the child goes on and on: {self.printed('err')}"
        self.pipe.close()
        return Ended(
            self.process.exitcode,
            said.get("value"),
            self.printed("out"),
            self.printed("err"),
            said.get("died"),
            said.get("changes", 0),
        )

    def printed(self, which: str) -> str:
        path = self.log.with_suffix(f".{which}")
        return path.read_text() if path.exists() else ""


def state_of(pid: int) -> str:
    """The state of a process as the kernel has it: R, S, T (stopped), Z, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def states_of(pid: int) -> list[str]:
    """The same for each thread of the process, but for those that end meanwhile."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append(state_of(int(thread.name)))
    return found


def stop(pid: int) -> None:
    """SIGSTOP, and wait until the kernel has stopped every thread: one that is within a system call
    first finishes that (an flock)."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: set(states_of(pid)) == {"T"})


def stop_between_transactions(pid: int, workspace: Path) -> None:
    """The same, but not where it holds the lock of the workspace's SQLite or its turnstile (a
    heartbeat's transaction), which would stop everybody."""
    while True:
        stop(pid)
        with (workspace / "requests.lock").open("rb+") as lock:
            try:
                take(lock.fileno(), fcntl.LOCK_EX, wait=False)
            except BlockingIOError:
                os.kill(pid, signal.SIGCONT)
            else:
                return


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for something that has to come; errors where it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def waiting(lock: Path) -> int:
    """How many processes and threads wait for the lock, by the kernel's list."""
    inode = f":{lock.stat().st_ino} "
    return sum(
        "->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()
    )


class Nursery:
    """Starts children and sees to it that none is left."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.children = folder, list[Child]()

    def start(
        self,
        act: Callable[..., Any],
        *args: Any,
        die: Point | None = None,
        pause: Point | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Run `act(*args)`, which must be importable, in a process. die: the failpoint at which it
        gets a SIGKILL; pause: where it waits to be told to go on."""
        ours, theirs = context().Pipe()
        log = self.folder / f"child-{len(self.children)}"
        process = context().Process(
            target=run, args=(theirs, str(log), act, args, die, pause, dict(environment or {}))
        )
        process.start()
        theirs.close()
        child = Child(process, ours, log)
        self.children.append(child)
        return child

    def close(self) -> None:
        for child in self.children:
            if child.process.is_alive():
                child.kill()
            child.process.join(PATIENCE)
            child.process.close()

    def printed(self) -> str:
        """All that all of them printed."""
        return "".join(child.printed(which) for child in self.children for which in ("out", "err"))


def run(
    pipe: Connection,
    log: str,
    act: Callable[..., Any],
    args: tuple[Any, ...],
    die: Point | None,
    pause: Point | None,
    environment: dict[str, str],
) -> None:
    """What a child does: the act, with its output in files and its failpoint set."""
    from lmeraser_ray.errors import LmeraserError
    from tests.support import failpoints

    for number, suffix in ((1, ".out"), (2, ".err")):
        handle = os.open(f"{log}{suffix}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
    os.environ.update(environment)
    code = 0
    try:
        with failpoints.set_up(pipe, die=die, pause=pause) as points:
            value = act(*args)
        pipe.send(("value", value))
        pipe.send(("changes", points.counts["change"]))
    except LmeraserError as error:
        print(f"lmeraser: error: {error}", file=sys.stderr)
        code = error.exit_code
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    pipe.close()
    sys.exit(code)
