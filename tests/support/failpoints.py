"""Places in the program at which a child process can be killed, or waits so that its parent can
kill or stop it.

- `before` and `after` COMMIT, COMMIT of the signer, signature, manifest (its writing), pointer (its
  rename), removal (of an object), constituent (its training and storing); and each batch.
- `change`: any change of the disk by the main thread, which is a call of one of `EFFECTS` of `os`,
  or the moment right before or right after a COMMIT. What SQLite itself writes between these two
  cannot be watched. A file that was being synced when the child dies is half there.

Heartbeats do not count, so that they make no difference to where the k-th one is.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast
from unittest import mock

from lmeraser_ray.erasure.certificate import signer as certify
from lmeraser_ray.pipeline.engine import InlineEngine
from lmeraser_ray.pipeline.jobs import TrainConstituent
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace
from lmeraser_ray.storage.database import database

EFFECTS = ("replace", "link", "unlink", "mkdir", "rmdir", "fsync", "truncate", "ftruncate")
TRAINED = "TRAINED_LOG"
"""The environment's variable with the file in which children note the constituents that they began
and finished."""

TRUNCATE = os.truncate


class Points:
    """Counts how often each place was reached."""

    def __init__(
        self, pipe: Connection, die: tuple[str, int] | None, pause: tuple[str, int] | None
    ) -> None:
        self.counts = Counter[str]()
        self._pipe, self._die, self._pause = pipe, die, pause

    def __call__(self, name: str) -> None:
        """The child is at this place."""
        if threading.current_thread().name == "lmeraser-heart":
            return
        if name.endswith("COMMIT") and threading.current_thread() is not threading.main_thread():
            name += " of the signer"
        self.counts[name] += 1
        here = (name, self.counts[name])
        if here == self._die:
            os.kill(os.getpid(), signal.SIGKILL)
        if here == self._pause:
            self._pipe.send(("reached", name))
            self._pipe.recv()

    def change(self, name: str, *args: object) -> None:
        """Note that the main thread is about to change the disk."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.counts["change"] += 1
        if ("change", self.counts["change"]) != self._die:
            return
        if name == "fsync":
            handle = cast(int, args[0])
            TRUNCATE(handle, os.fstat(handle).st_size // 2)
        self._pipe.send(("died", " ".join([name, *(Path(str(arg)).name for arg in args)])))
        os.kill(os.getpid(), signal.SIGKILL)

    def changing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """A function of `os` that changes the disk, with its failpoint. Folders are synced for the
        power's sake alone."""

        def wrapped(*args: Any, **options: Any) -> Any:
            if not (name == "fsync" and Path(f"/proc/self/fd/{args[0]}").is_dir()):
                self.change(name, *args)
            return real(*args, **options)

        return wrapped

    def commit(self, moment: str) -> None:
        """The child is about to commit, or has just done so."""
        self.change({"before": "committing", "after": "committed"}[moment])
        self(f"{moment} COMMIT")

    def around(
        self, name: str, real: Callable[..., Any], concerns: Callable[..., bool] = lambda *_: True
    ) -> Callable[..., Any]:
        """The function with a failpoint before it and one after it, for arguments that it
        concerns."""

        def wrapped(*args: Any, **options: Any) -> Any:
            if not concerns(*args):
                return real(*args, **options)
            self(f"before {name}")
            result = real(*args, **options)
            self(f"after {name}")
            return result

        return wrapped


@contextmanager
def set_up(
    pipe: Connection, *, die: tuple[str, int] | None, pause: tuple[str, int] | None
) -> Iterator[Points]:
    """Watch all places in this process."""
    points = Points(pipe, die, pause)
    with ExitStack() as stack:

        def patch(target: object, name: str, value: object) -> None:
            stack.enter_context(mock.patch.object(target, name, value))

        for name in EFFECTS:
            patch(os, name, points.changing(name, getattr(os, name)))
        patch(database, "committing", lambda: points.commit("before"))
        patch(database, "committed", lambda: points.commit("after"))
        patch(
            os,
            "replace",
            points.around("pointer", os.replace, lambda _, to: Path(to).name == "CURRENT"),
        )
        patch(os, "unlink", points.around("removal", os.unlink, lambda path: is_object(Path(path))))
        patch(certify, "sign", points.around("signature", certify.sign))
        patch(
            LockedWorkspace, "put_manifest", points.around("manifest", LockedWorkspace.put_manifest)
        )
        patch(TrainConstituent, "run", noting(points.around("constituent", TrainConstituent.run)))
        make = InlineEngine.__init__

        def init(engine: InlineEngine, *args: Any, **options: Any) -> None:
            make(engine, *args, **options)
            engine.worker.report = lambda _: points("batch")

        patch(InlineEngine, "__init__", init)
        yield points


def is_object(path: Path) -> bool:
    """Whether a path is that of an object in a store."""
    return path.parent.parent.name == "objects" and path.parent.name != "tmp"


def noting(real: Callable[..., Any]) -> Callable[..., Any]:
    """Note which constituents are trained, in the order in which all processes together begin and
    finish them."""

    def run(job: TrainConstituent, worker: Any) -> Any:
        note("begun", job.keys[-1])
        result = real(job, worker)
        note("done", job.keys[-1])
        return result

    return run


def note(what: str, key: str) -> None:
    """One line in the file that the environment names."""
    path = os.environ.get(TRAINED)
    if path:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, f"{what} {key}\n".encode())
        os.close(handle)
