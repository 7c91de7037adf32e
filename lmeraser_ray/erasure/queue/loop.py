"""The queue: one process at a time works off a workspace's erasure requests, until they are done or
it is told to stop.

    claim an epoch → look for requests → lock the workspace → a round → (sign) → look again

It holds the workspace's lock only while there is something to do, so that training and erasing take
turns. It runs wherever it is started: in the process of `lmeraser unlearn`, or in the actor behind
`lmeraser queue serve`. Invariant: nothing is in its memory that a new one, with a higher epoch,
would not find in the database.
"""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import exists, select

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.signer import certify_pending
from lmeraser_ray.erasure.queue.lease import Heart, Lease
from lmeraser_ray.erasure.queue.round import Round
from lmeraser_ray.erasure.queue.telemetry import Lanes, Sums
from lmeraser_ray.erasure.requests.events import Event, Say, redacted_message
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import ExecutionError, LmeraserError, StaleEpochError
from lmeraser_ray.pipeline.choice import choice_in
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.times import to_text, utcnow

LONGEST_PAUSE = 60.0
"""Seconds between two tries at most, where one round after the other ends in an error."""
Pause = Callable[[float], bool]
"""Waits so many seconds, or until the end is asked for; returns whether it is."""


def nobody(_: Event) -> None:
    """Tell nobody."""


@dataclass
class Queue:
    """Works off the requests of one workspace under one lease. keys: signs too, where given; else
    someone else does. say: is told of lanes and errors, which are in no ledger."""

    session: Session
    database: Database
    lease: Lease
    heart: Heart
    keys: KeyFolder | None = None
    say: Say = nobody
    rounds: int = 0
    errors: list[LmeraserError] = field(default_factory=list)
    """Of the last round."""
    sums: Sums = field(default_factory=Sums)
    """Of all rounds."""

    def round(self, *, patient: bool, stop: Callable[[], bool]) -> None:
        """Lock the workspace and work until nothing is left. Errors: those of `Round.run`;
        `ExecutionError` where another has the lock."""
        folder = self.session.folder
        with folder.locked():
            self.work(folder, patient=patient, stop=stop)

    def work(self, folder: WorkspaceFolder, *, patient: bool, stop: Callable[[], bool]) -> None:
        """A round in a workspace that the caller has locked."""
        session, manifest = self.session, folder.require_published()
        choice = choice_in(folder.store, manifest)
        with session.flow(
            folder.store, session.config(), manifest.backbone, manifest.partition, choice
        ) as flow:
            work = Round(folder, self.database, self.lease, flow, manifest)
            lanes = Lanes(self.say)
            try:
                work.run(patient=patient, stop=stop, look=partial(self._look, work, lanes))
            except LmeraserError as error:
                self.refuse_stale(error)
                raise
            finally:
                lanes.look([], work.errors)
                self.errors, self.rounds = work.errors, self.rounds + 1
                self.sums += Sums.of(work.scheduler)
        self.sign()

    def refuse_stale(self, error: LmeraserError) -> None:
        """Errors: `StaleEpochError` where another queue has taken over, and perhaps purged what
        this one worked with."""
        epoch = Lease.look(self.database).epoch
        if epoch != self.lease.epoch:
            raise StaleEpochError(
                f"Another queue has taken over (epoch {epoch}, this one has {self.lease.epoch}): "
                "this one stops."
            ) from error

    def sign(self) -> list[str]:
        """Certify what is purged, if this process has the keys."""
        return certify_pending(self.database, self.keys) if self.keys else []

    def _look(self, work: Round, lanes: Lanes, snapshot: dict[str, Any]) -> None:
        """Show how things are; end the round where another queue took over."""
        lanes.look(snapshot["training"], work.errors, snapshot["superseded"])
        sums = self.sums + Sums.of(work.scheduler)
        gpus = work.flow.engine.gpus if work.retrains.running else 0.0
        self.heart.show({**snapshot, **sums.as_json(), "gpus": gpus, "rounds": self.rounds})
        self.heart.require()
        self.sign()

    def busy(self) -> bool:
        """Whether there is something to work on: what waits for others to come together is not,
        yet."""
        before = to_text(utcnow() - timedelta(seconds=self.session.config().queue.window))
        ripe = (requests.c.state == State.RECEIVED) & (requests.c.received_at <= before)
        begun = requests.c.state.in_(
            State.where(lambda state: state.is_in_work or state is State.PUBLISHED)
        )
        with self.database.read() as conn:
            return conn.scalar(select(exists().where(begun | ripe))) or False

    def serve(self, pause: Pause, *, say: Say | None = None) -> None:
        """Work, round after round, until `pause` says so.

        Errors: `StaleEpochError`; nothing else that a user can cause: that is told, shown in
        `status`, and tried again after a pause.
        """
        self.say = say or self.say
        wait, stopping = 0.0, False
        while not stopping:
            self.heart.require()
            try:
                if self.busy():
                    self.round(patient=True, stop=lambda: pause(0.0))
                self.sign()
                wait = 0.0
                self.heart.show({**self.sums.as_json(), "idle": True, "rounds": self.rounds})
            except StaleEpochError:
                raise
            except LmeraserError as error:
                wait = min(LONGEST_PAUSE, max(1.0, 2 * wait))
                self.heart.show(
                    {**self.sums.as_json(), "alert": redacted_message(error), "rounds": self.rounds}
                )
                self.say(
                    Event(
                        "error",
                        facts={
                            "error": type(error).__name__,
                            "message": redacted_message(error),
                            "pause": wait,
                        },
                    )
                )
            stopping = pause(wait or self.session.config().queue.poll)


def holder() -> str:
    """Who this process is, for people."""
    return f"process {os.getpid()} on {platform.node()}"


@contextmanager
def queue_of(
    session: Session,
    *,
    keys: KeyFolder | None,
    name: str | None = None,
    heir: str | None = None,
    say: Say = nobody,
) -> Iterator[Queue]:
    """Be the queue of a session's workspace. heir: take over at once from a holder whose name
    begins so.

    Errors: `ExecutionError` while another one lives.
    """
    settings = session.config().queue
    with session.database() as database:
        last = Lease.look(database).holder
        force = heir is not None and last is not None and last.startswith(heir)
        lease = Lease.claim(database, name or holder(), timeout_s=settings.lease, force=force)
        try:
            with Heart(lease, settings.lease) as heart:
                yield Queue(session, database, lease, heart, keys, say)
        finally:
            lease.release()


def wait_for_turn(session: Session, pause: Pause, *, heir: str | None = None) -> None:
    """Wait as long as the last holder gives no sign of life and might yet; no longer than the lease
    lasts. Who lives is not waited for."""
    settings = session.config().queue
    with session.database() as database:
        first = seen = Lease.look(database)
        if heir is not None and (first.holder or "").startswith(heir):
            return
        while seen.live(utcnow(), settings.lease) and (seen.epoch, seen.heartbeat_at) == (
            first.epoch,
            first.heartbeat_at,
        ):
            if pause(settings.poll):
                return
            seen = Lease.look(database)


def keep_serving(
    session: Session,
    pause: Pause,
    *,
    keys: KeyFolder | None,
    say: Say,
    name: str | None = None,
    heir: str | None = None,
) -> None:
    """Be the queue until `pause` says so: with a new epoch where the lease was lost, as when the
    database could not be reached for long.

    Errors: those of the first claim, `ExecutionError` while another queue lives among them.
    """
    served, wait = False, 0.0
    while True:
        try:
            wait_for_turn(session, pause, heir=heir)
            with queue_of(session, keys=keys, name=name, heir=heir, say=say) as queue:
                served, wait = True, 0.0
                queue.serve(pause)
                return
        except ExecutionError as error:
            if not served:
                raise
            wait = min(LONGEST_PAUSE, max(1.0, 2 * wait))
            say(
                Event(
                    "lost",
                    facts={
                        "error": type(error).__name__,
                        "message": redacted_message(error),
                        "pause": wait,
                    },
                )
            )
        if pause(wait):
            return
