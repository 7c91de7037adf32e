"""The queue: one process at a time works off a workspace's erasure requests, until they are done or it is told to stop.

    claim an epoch → look for requests → lock the workspace → a round → (sign) → look again

It holds the workspace's lock only while there is something to do, so that training and erasing take turns. It runs wherever it is started:
in the process of `lmeraser unlearn`, or in the actor behind `lmeraser queue serve`. Invariant: nothing is in its memory that a new one,
with a higher epoch, would not find in the database.
"""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from lmeraser_ray.erasure.certify import certify_pending
from lmeraser_ray.erasure.lease import Heart, Lease
from lmeraser_ray.erasure.request import State
from lmeraser_ray.erasure.round import Round
from lmeraser_ray.erasure.signing import KeyFolder
from lmeraser_ray.errors import LmeraserError, StaleEpochError
from lmeraser_ray.session import Session
from lmeraser_ray.state.database import Database
from lmeraser_ray.state.folder import WorkspaceFolder
from lmeraser_ray.state.tables import requests

SIGNED_OUTSIDE = (State.RECEIVED, State.PLANNED, State.TRAINING, State.PUBLISHED)
"""What the queue itself works on; a PURGED request waits for the signer only."""
LONGEST_PAUSE = 60.0
"""Seconds between two tries at most, where one round after the other ends in an error."""


@dataclass
class Queue:
    """Works off the requests of one workspace under one lease. keys: signs too, where given; else someone else does."""

    session: Session
    database: Database
    lease: Lease
    heart: Heart
    keys: KeyFolder | None = None
    rounds: int = 0
    errors: list[LmeraserError] = field(default_factory=list)
    """Of the last round."""

    def round(self, *, patient: bool, stop: Callable[[], bool]) -> None:
        """Lock the workspace and work until nothing is left. Errors: those of `Round.run`; `ExecutionError` where another has the lock."""
        folder = self.session.folder
        with folder.locked():
            self.work(folder, patient=patient, stop=stop)

    def work(self, folder: WorkspaceFolder, *, patient: bool, stop: Callable[[], bool]) -> None:
        """A round in a workspace that the caller has locked."""
        session, manifest = self.session, folder.require_published()
        with session.flow(folder.store, session.config(), manifest.backbone, manifest.partition) as flow:
            work = Round(folder, self.database, self.lease, flow, manifest)
            try:
                work.run(patient=patient, stop=stop, look=self._look)
            finally:
                self.errors, self.rounds = work.errors, self.rounds + 1
        self.sign()

    def sign(self) -> list[str]:
        """Certify what is purged, if this process has the keys."""
        return certify_pending(self.database, self.keys) if self.keys else []

    def _look(self, snapshot: dict[str, Any]) -> None:
        """Show how things are; end the round where another queue took over."""
        self.heart.show({**snapshot, "rounds": self.rounds})
        self.heart.require()
        self.sign()

    def busy(self) -> bool:
        """Whether there is something to work on."""
        with self.database.read() as conn:
            found = conn.scalar(select(func.count()).select_from(requests).where(requests.c.state.in_(map(str, SIGNED_OUTSIDE))))
        return bool(found)

    def serve(self, pause: Callable[[float], bool], *, say: Callable[[str], object]) -> None:
        """Work, round after round, until `pause`, which waits so many seconds, returns True. Errors: `StaleEpochError`, nothing else that a
        user can cause: it is told, shown in `status`, and tried again after a pause."""
        wait, stopping = 0.0, False
        while not stopping:
            self.heart.require()
            try:
                if self.busy():
                    self.round(patient=True, stop=lambda: pause(0.0))
                self.sign()
                wait = 0.0
                self.heart.show({"idle": True, "rounds": self.rounds})
            except StaleEpochError:
                raise
            except LmeraserError as error:
                wait = min(LONGEST_PAUSE, max(1.0, 2 * wait))
                self.heart.show({"alert": str(error), "rounds": self.rounds})
                say(f"{error} Trying again in {wait:g} s.")
            stopping = pause(wait or self.session.config().queue.poll)


def holder() -> str:
    """Who this process is, for people."""
    return f"process {os.getpid()} on {platform.node()}"


@contextmanager
def queue_of(session: Session, *, keys: KeyFolder | None, name: str | None = None, force: bool = False) -> Iterator[Queue]:
    """Be the queue of a session's workspace. Errors: `ExecutionError` while another one lives."""
    settings = session.config().queue
    with session.database() as database:
        lease = Lease.claim(database, name or holder(), timeout_s=settings.lease, force=force)
        try:
            with Heart(lease, settings.lease) as heart:
                yield Queue(session, database, lease, heart, keys)
        finally:
            lease.release()
