"""The queue: one process at a time that works off a workspace's erasure requests, until nothing is
left or it is asked to stop.

    claim an epoch → look for requests → lock the workspace → a round → (sign) → look again

The queue holds the workspace's lock only while there is something to do, so that training and
erasing take turns. It runs wherever it is started: in the process of `lmeraser unlearn`, or in the
actor behind `lmeraser queue serve`. Invariant: a new queue, with a higher epoch, finds everything
in the database that this one has in memory.
"""

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

from sqlalchemy import exists, select

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.signer import certify_pending
from lmeraser_ray.erasure.queue.lease import Heart, Lease
from lmeraser_ray.erasure.queue.quarantine import QuarantineWatch
from lmeraser_ray.erasure.queue.round import Round
from lmeraser_ray.erasure.queue.telemetry import RetrainEvents, Sums
from lmeraser_ray.erasure.requests.events import Event, Pauses, Say, error_event, redacted_message
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.retention import expire
from lmeraser_ray.errors import ExecutionError, HeldBackError, LmeraserError, StaleEpochError
from lmeraser_ray.pipeline.choice import choice_in
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.times import to_text, utcnow

EXPIRE_SECONDS = 3600.0
"""Between two looks for tombstones that are too old."""
Pause = Callable[[float], bool]
"""Waits so many seconds, or until the queue is asked to stop. Returns whether it is asked to."""


def nobody(_: Event) -> None:
    """Report to nobody."""


@dataclass
class Queue:
    """Works off the requests of one workspace under one lease.

    keys: the queue signs with these; None: another process signs. say: gets events about retrains
    and errors, which are in no ledger.
    """

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
    expire_at: float = 0.0
    """When to look for tombstones that are too old, by `time.monotonic`."""
    held: Pauses = field(default_factory=Pauses)
    """Between two looks at requests that the absence scan holds back."""

    @cached_property
    def quarantine(self) -> QuarantineWatch:
        """Settles what a command that died left in quarantine, or did not come to quarantine."""
        return QuarantineWatch(self.session.folder, self.database, self.session.config())

    def expire(self) -> None:
        """Remove the tombstones that are too old (`queue.tombstone_days`), looking once an hour."""
        if time.monotonic() >= self.expire_at:
            self.expire_at = time.monotonic() + EXPIRE_SECONDS
            expire(self.database, self.session.config().queue.tombstone_days, self.lease.write)

    def round(self, *, patient: bool, stop: Callable[[], bool]) -> None:
        """Lock the workspace and work until nothing is left. Errors: those of `Round.run`;
        `ExecutionError` where another command holds the lock."""
        with self.session.folder.locked() as workspace:
            self.work(workspace, patient=patient, stop=stop)

    def work(self, workspace: LockedWorkspace, *, patient: bool, stop: Callable[[], bool]) -> None:
        """Run one round in a workspace that the caller has locked. Errors: those of `Round.run`."""
        session, manifest = self.session, workspace.require_published()
        choice = choice_in(workspace.store, manifest)
        with session.flow(
            workspace.store, session.config(), manifest.backbone, manifest.partitions, choice
        ) as flow:
            work = Round(workspace, self.database, self.lease, flow, manifest)
            events = RetrainEvents(self.say)
            try:
                work.run(patient=patient, stop=stop, look=partial(self._look, work, events))
            except LmeraserError as error:
                self.refuse_stale(error)
                raise
            finally:
                events.look([], work.errors)
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
        """Certify the PURGED requests, where this process has the keys. Returns their ids."""
        if self.keys is None:
            return []
        return certify_pending(self.session.folder, self.database, self.keys)

    def _look(self, work: Round, events: RetrainEvents, snapshot: dict[str, Any]) -> None:
        """Show the snapshot of a round, and sign. Errors: end the round where another queue took
        over."""
        events.look(snapshot["training"], work.errors, snapshot["superseded"])
        sums = self.sums + Sums.of(work.scheduler)
        gpus = work.flow.engine.gpus if work.retrains.running else 0.0
        self.heart.show({**snapshot, **sums.as_json(), "gpus": gpus, "rounds": self.rounds})
        self.heart.require()
        with suppress(HeldBackError):  # raised at the end of the round: no retrain waits for it
            self.sign()

    def busy(self) -> bool:
        """Whether there is something to work on. A request that still waits for others to come
        (`intake.waits`) does not count yet, nor one that the absence scan holds back, until it is
        time to look again."""
        now, window = utcnow(), timedelta(seconds=self.session.config().queue.window)
        came = requests.c.received_at
        ready = (requests.c.state == State.RECEIVED) & (
            (came <= to_text(now - window)) | (came > to_text(now))
        )
        in_work = requests.c.state.in_(State.where(lambda state: state.is_in_work))
        published = requests.c.state == State.PUBLISHED
        if not self.held.over:
            published &= requests.c.findings.is_(None)
        with self.database.read() as conn:
            return conn.scalar(select(exists().where(in_work | published | ready))) or False

    def serve(self, pause: Pause, *, say: Say | None = None) -> None:
        """Work, round after round, until `pause` asks to stop.

        Errors: `StaleEpochError` where another queue took over. Any other error that a user can
        cause is reported, shown by `queue status`, and the round is tried again after a pause. For
        requests that the absence scan holds back, no other request waits.
        """
        self.say = say or self.say
        failing, stopping = Pauses(), False
        while not stopping:
            self.heart.require()
            try:
                self.quarantine.look()
                self.expire()
                if self.busy():
                    self.round(patient=True, stop=lambda: pause(0.0))
                    self.held.end()
                if self.held.over:
                    self.sign()
                failing.end()
                self._show(self.held.why)
            except StaleEpochError:
                raise
            except LmeraserError as error:
                pauses = self.held if isinstance(error, HeldBackError) else failing
                self.say(error_event("error", error, pauses.begin(redacted_message(error))))
                self._show(pauses.why)
            stopping = pause(max(failing.left, self.session.config().queue.poll))

    def _show(self, alert: str | None) -> None:
        """Show that nothing is being trained, and why requests are held back or nothing works."""
        said = {"alert": alert} if alert else {"idle": True}
        self.heart.show({**self.sums.as_json(), **said, "rounds": self.rounds})


def holder() -> str:
    """The name of this process as a holder of the lease, for people."""
    return f"process {os.getpid()} on {platform.node()}"


@contextmanager
def queue_of(
    session: Session,
    *,
    keys: KeyFolder | None,
    name: str | None = None,
    takeover_prefix: str | None = None,
    say: Say = nobody,
) -> Iterator[Queue]:
    """Be the queue of a session's workspace. takeover_prefix: take over at once from a holder whose
    name begins so.

    Errors: `ExecutionError` while another queue is alive.
    """
    settings = session.config().queue
    with session.database() as database:
        last = Lease.look(database).holder
        force = (
            takeover_prefix is not None and last is not None and last.startswith(takeover_prefix)
        )
        lease = Lease.claim(database, name or holder(), timeout_s=settings.lease, force=force)
        try:
            with Heart(lease, settings.lease) as heart:
                yield Queue(session, database, lease, heart, keys, say)
        finally:
            lease.release()


def wait_for_turn(session: Session, pause: Pause, *, takeover_prefix: str | None = None) -> None:
    """Wait while the last holder of the lease gives no sign of life but still might; no longer than
    the lease lasts. Returns at once where the holder is alive."""
    settings = session.config().queue
    with session.database() as database:
        first = seen = Lease.look(database)
        if takeover_prefix is not None and (first.holder or "").startswith(takeover_prefix):
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
    takeover_prefix: str | None = None,
) -> None:
    """Be the queue until `pause` asks to stop. Where the lease was lost, as when the database could
    not be reached for long, claim a new epoch.

    Errors: those of the first claim, such as `ExecutionError` while another queue is alive.
    """
    served, failing = False, Pauses()
    while True:
        try:
            wait_for_turn(session, pause, takeover_prefix=takeover_prefix)
            with queue_of(
                session, keys=keys, name=name, takeover_prefix=takeover_prefix, say=say
            ) as queue:
                served = True
                failing.end()
                queue.serve(pause)
                return
        except ExecutionError as error:
            if not served:
                raise
            say(error_event("lost", error, failing.begin()))
        if pause(failing.left):
            return
