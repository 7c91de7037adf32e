"""One round of the queue: from the moment that the workspace is locked until nothing is left to do,
or the queue is asked to stop.

    RECEIVED ─intake─► PLANNED ─begin─► TRAINING ─collect─► trained ─publish─► PUBLISHED
                                                                                   │
                                                                 PURGED ◄──prove───┘

Invariants: the published state is always train(D \\ R') for a set R' of records; a job that no
request needs any more is cancelled and cannot write; a failed retrain is counted against its own
requests and blocks no others; a crash loses nothing that a round keeps in memory.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.intake import Intake
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.queue.proof import Proof
from lmeraser_ray.erasure.queue.publisher import Facts, Leaving, Publisher
from lmeraser_ray.erasure.queue.quarantine import Quarantine, QuarantineWatch
from lmeraser_ray.erasure.queue.request_work import Work
from lmeraser_ray.erasure.queue.retrains import Retrains
from lmeraser_ray.erasure.queue.scheduler import AffectedConstituent, Policy, Scheduler
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.errors import (
    ConfigError,
    DataError,
    DiskFullError,
    LmeraserError,
    StaleEpochError,
)
from lmeraser_ray.pipeline.flow import Flow
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.times import utcnow

PAUSE = 4.0
"""While something is being trained, the next publication waits for this many times the seconds that
the last one took: at most a fifth of the time goes into publishing, purging and scanning."""
UNBOUNDED = 1 << 20
"""Slots of the scheduler until the engine is started, which is when a retrain waits."""


class Round:
    """Works off the requests of one workspace, which the caller has locked."""

    def __init__(
        self,
        workspace: LockedWorkspace,
        database: Database,
        lease: Lease,
        flow: Flow,
        manifest: Manifest,
    ) -> None:
        config = flow.config
        self.workspace, self.database, self.lease, self.flow = workspace, database, lease, flow
        self.settings = config.queue
        self.current = PublishedState.read(workspace.store, config, manifest)
        self.scheduler = Scheduler(Policy(supersedes=self.settings.supersedes), UNBOUNDED)
        self.intake = Intake(workspace, database, lease, self.settings)
        self.retrains = Retrains(flow)
        self.publisher = Publisher(workspace, database, lease)
        self.proof = Proof(workspace, database, lease, flow)
        self.quarantine = QuarantineWatch(workspace, database, config)
        self.work: dict[str, Work] = {}
        self.patient = True
        self.busy_until = 0.0
        self.errors: list[LmeraserError] = []
        self.unproven: LmeraserError | None = None

    def run(
        self, *, patient: bool, stop: Callable[[], bool], look: Callable[[dict[str, Any]], object]
    ) -> None:
        """Work until nothing is left, or until `stop` returns True and nothing is being trained.

        patient: wait for requests that are to be taken together (`queue.window`), and try a failed
        retrain again; otherwise a failed retrain is left for the next round, with its error in
        `errors`. look: gets a snapshot, often, and may raise to end the round. Errors:
        `StaleEpochError` where another queue took over; errors of the disk and of the store.
        Whatever ends a round, the next one goes on from there.
        """
        self.patient = patient
        self.recover()
        while True:
            stopping = stop()
            if not stopping:
                fresh = self.intake.look(self.current, known=self.work, hurry=not patient)
                for request, rows in fresh:
                    self._accept(Work.of(request, rows, self.current))
                self.quarantine.look()
                self._begin()
            self._publish()
            look(self.snapshot())
            if not self.retrains.running and (stopping or not self.work):
                break
            self._collect()
        if self.unproven:
            raise self.unproven

    def recover(self) -> None:
        """Go on where the last round ended, or died.

        Concludes its publication, takes up what it had planned, and starts the retrains for that,
        so that the purge leaves constituents that it had trained. Where these cannot start (a full
        disk, a damaged bucket), the published requests are purged and proven all the same.
        """
        self.publisher.recover()
        for request, rows in self.intake.resume():
            self._accept(Work.of(request, rows, self.current))
        try:
            self._begin()
        finally:
            self._prove()

    def _accept(self, work: Work) -> None:
        """Let a request wait for the retrains that it needs."""
        self.work[work.id] = work
        if work.waiting:
            self.scheduler.add(work.ticket())

    def _begin(self) -> None:
        """Start the retrains whose turn it is. Where a round that died had trained already what one
        needs, the next one starts at once."""
        while not self._moving() and self._begin_next():
            pass

    def _moving(self) -> bool:
        """Whether a trained, unpublished state gives the shards new numbers: until it is published,
        no retrain can start."""
        names = {name for work in self.work.values() for name in work.trained}
        return bool(self.current.sampled[self.current.mask(names)].any())

    def _begin_next(self) -> bool:
        """Start the retrains whose turn it is. Returns whether one of them had nothing to train."""
        if self.scheduler.slots == UNBOUNDED and self.scheduler.waiting:
            if self.flow.engine.undecided:
                names = {name for work in self.work.values() for name in work.hashes}
                self.retrains.announce(self.current, names)
            with self.flow.progress.stage("start"):
                self.flow.engine.start()
            self.scheduler.slots = self.flow.engine.slots
        starts = self.scheduler.next(utcnow().timestamp(), self.retrains.progress)
        idle = {work.id for work in self.work.values() if not work.waiting}  # with nothing to train
        fresh = {request for start in starts for request in start.requests} | idle
        fresh = {request for request in fresh if not self.work[request].begun}
        for gone in self._note_training(fresh):
            self._drop(gone)
        for start in starts:
            for request in start.requests:
                if request in self.work:
                    self.work[request].begin(start.constituent)
        return self._replan() if starts else False

    def _note_training(self, requests: set[str]) -> list[str]:
        """Note that these requests are TRAINING. Returns those that were refused meanwhile."""
        if not requests:
            return []
        with self.lease.write() as conn:
            moved = transitions.begin_training(conn, sorted(requests))
        for request in requests:
            self.work[request].begun = True
        return list(moved.meanwhile)

    def _drop(self, request: str) -> None:
        """Forget a request that will not be worked off."""
        if self.scheduler.holds(request):
            self.scheduler.drop(request)
        del self.work[request]

    def _replan(self) -> bool:
        """Plan the live records without all that leave, and train what that needs. Returns whether
        a constituent needs no training."""
        leaving = {name for work in self.work.values() for name in work.leaving}
        running = list(self.scheduler.running)
        self.retrains.plan(self.current, leaving, running)
        if self.retrains.running:  # on Ray, perhaps, since what has come is much
            self.scheduler.slots = self.flow.engine.slots
        done = set(running) - self.retrains.running
        for constituent in done:
            self._finish(constituent)
        return bool(done)

    def _finish(self, constituent: AffectedConstituent) -> None:
        """Note that a constituent is trained."""
        self.scheduler.finished(constituent)
        for work in self.work.values():
            work.finish(constituent)

    def _collect(self) -> None:
        """Wait for a job, or until it is time to look for new requests. Errors: `DiskFullError`,
        which ends the round, because no request must fail for it."""
        done, failed = self.retrains.collect(self.settings.poll)
        for error in failed.values():
            if isinstance(error, DiskFullError):
                raise error
        for constituent in done:
            self._finish(constituent)
        for constituent, error in failed.items():
            self._fail(constituent, error)
        if self.retrains.stale or failed:
            self._replan()

    def _fail(self, constituent: AffectedConstituent, error: LmeraserError) -> None:
        """Note that a retrain failed: its requests wait again, each alone from now on. A request
        that failed `queue.attempts` times ends as FAILED."""
        self.errors.append(error)
        requests = self.scheduler.failed(constituent)
        for request in requests:
            self.work[request].fail(constituent, self.current)
        waiting = [request for request in requests if not self.work[request].complete]
        with self.lease.write() as conn:
            attempts = transitions.count_attempt(conn, waiting)
            worn = {
                request for request in waiting if attempts.get(request, 0) >= self.settings.attempts
            }
            for request in sorted(worn):
                transitions.fail(conn, request, failed_reason(attempts[request], error))
        for request in waiting:
            if self.patient and request not in worn:
                self.scheduler.retaint(request)
            else:
                self._drop(request)
        for request in set(requests) - set(waiting):  # its records left with another request's
            self.scheduler.drop(request)

    def _publish(self) -> None:
        """Publish the state without the records whose constituents are trained, where that
        completes a request or nothing is being trained."""
        trained = {
            work.id: work
            for work in self.work.values()
            if work.begun and (work.trained or work.complete)
        }
        complete = sorted(work.id for work in trained.values() if work.complete)
        if not trained or (
            self.retrains.running and (not complete or time.monotonic() < self.busy_until)
        ):
            return
        started = time.monotonic()
        names = {name for work in trained.values() for name in work.trained}
        manifest = self.retrains.manifest(self.current, names)
        if manifest is None:
            return  # it needs a constituent that is being trained
        before = self.current.manifest
        facts = self._facts(before, manifest, int(self.current.mask(names).sum()))
        leaving = Leaving(
            {
                work.id: [work.hashes[name] for name in sorted(work.trained)]
                for work in trained.values()
            },
            complete,
        )
        self.current = PublishedState.read(
            self.workspace.store, self.flow.config, manifest, self.current.index
        )
        for request in complete:
            self._drop(request)
        quarantine = Quarantine(self.workspace.store, self.flow.config, manifest)
        with self.flow.progress.stage("publish"):
            self.publisher.publish(
                before, manifest, leaving, facts, quarantine.prepare(self.database)
            )
        self._settle(trained.values(), moved=before.partitions != manifest.partitions)
        if self.retrains.published(names):
            self._replan()
        self._prove()
        self.busy_until = time.monotonic() + PAUSE * (time.monotonic() - started)

    def _prove(self) -> None:
        """Purge and prove what is published. An error (a file that cannot be removed, a trace that
        is found) is raised at the end of the round, so that no other retrain or publication waits
        for it."""
        self.unproven = None
        try:
            with self.flow.progress.stage("prove"):
                self.proof.prove(self.current.manifest, self.retrains)
        except StaleEpochError:
            raise
        except LmeraserError as error:
            self.unproven = error

    def _settle(self, published: Iterable[Work], *, moved: bool) -> None:
        """Forget what is published. moved: the shards have new numbers, so that waiting requests
        need other constituents."""
        for work in published:
            work.trained.clear()
        if moved:
            for work in self.work.values():
                work.relabel(self.current)
                if not work.waiting and self.scheduler.holds(work.id):
                    self.scheduler.drop(work.id)  # its records left with another request's
            self.scheduler.relabel([work.ticket() for work in self.work.values() if work.waiting])

    def _facts(self, before: Manifest, after: Manifest, removed: int) -> Facts:
        """What a publication changes."""
        return self.retrains.facts(before, after, removed)

    def snapshot(self) -> dict[str, Any]:
        """The state of the round for whoever watches: a JSON value without ids of records."""
        return {
            "waiting": self.scheduler.waiting,
            "saved": self.scheduler.saved,
            "superseded": self.scheduler.superseded,
            "training": self.retrains.snapshot(self.scheduler.running),
            "slots": None if self.scheduler.slots == UNBOUNDED else self.scheduler.slots,
        }


def failed_reason(attempts: int, error: LmeraserError) -> str:
    """Why a request is FAILED. The sentence is kept, so an error about data, which may name a
    record, is replaced by a general one."""
    cause = (
        "an input that cannot be used: run `lmeraser verify`"
        if isinstance(error, DataError | ConfigError)
        else str(error)
    )
    return (
        f"Its retrain failed {attempts} times, at last by {type(error).__name__}: {cause} Mend "
        "that, then `lmeraser retry`."
    )
