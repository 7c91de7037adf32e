"""The retrains under way: jobs of the engine, by the key of the constituent that each one trains.

    records that leave ─► plan of the live records ─► missing keys ─► jobs
                          without them                keys not needed any more ─► cancelled

Invariant: a job is under way exactly for the keys that the latest plan lacks and that a run of the
scheduler needs.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lmeraser_ray.data.index import remaining
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.publisher import Facts
from lmeraser_ray.erasure.queue.scheduler import AffectedConstituent, TrainingProgress
from lmeraser_ray.errors import ExecutionError, LmeraserError, VerificationError
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.pipeline.flow import Flow, Planned
from lmeraser_ray.pipeline.jobs import Trained
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.plan import Build, most_work_first
from lmeraser_ray.pipeline.work_ahead import WorkAhead
from lmeraser_ray.storage.digests import key_of
from lmeraser_ray.storage.store import Kind, StoredObject

NAMED = 3
"""How many keys and requests the snapshot names for each run."""


@dataclass(frozen=True)
class Retrain:
    """A job under way. ticket: the engine's; plan: the number of the plan that the job was made
    from; since: when it was submitted, seconds; passes: record passes that it will take;
    subtracts: whether it starts from statistics that are there."""

    ticket: int
    plan: int
    since: float
    passes: int
    subtracts: bool = False


@dataclass
class Retrains:
    """The jobs of one round. needs: for each run of the scheduler, the keys that it still waits
    for; made: the objects that jobs made, by key; passes: record passes by key; seconds: of all
    jobs that ended."""

    flow: Flow
    jobs: dict[str, Retrain] = field(default_factory=dict)
    needs: dict[AffectedConstituent, set[str]] = field(default_factory=dict)
    made: dict[str, StoredObject] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stale: bool = False
    """Whether a job failed because its plan is not the latest one: plan again."""
    _counts: set[str] = field(default_factory=set)
    """Keys of what is counted, because what it would have started from could not be read."""
    _later: list[Build] = field(default_factory=list)
    """What is to be trained once the common starts of the plan are."""
    _planned: Planned | None = None
    _leaving: frozenset[str] = frozenset()
    _plans: int = 0

    @property
    def running(self) -> set[AffectedConstituent]:
        """The runs that wait for a job."""
        return set(self.needs)

    def announce(self, current: PublishedState, leaving: set[str]) -> None:
        """Let the engine choose by all that is to be trained without these records, so that it is
        known how many runs go side by side before the first begins."""
        planned = self.flow.plan(buckets_without(current, leaving), current.manifest, current.index)
        builds = (*planned.plan.first, *planned.plan.build)
        self.flow.engine.choose(WorkAhead("training", planned.index, builds))

    def plan(
        self,
        current: PublishedState,
        leaving: set[str],
        constituents: Sequence[AffectedConstituent],
    ) -> None:
        """Start the jobs that these runs need, the first one's first, once the records in `leaving`
        have left, and cancel those that no run needs any more."""
        self._plans += 1
        self.stale = False
        self._planned = self.flow.plan(
            buckets_without(current, leaving), current.manifest, current.index
        )
        self._leaving = frozenset(leaving)
        missing = {
            build.spec.key: replace(build, difference=None)
            if build.spec.key in self._counts
            else build
            for build in (*self._planned.plan.first, *self._planned.plan.build)
        }
        self.needs = {
            constituent: keys
            for constituent in constituents
            if (keys := self._keys(constituent, missing))
        }
        wanted: set[str] = set().union(*self.needs.values())
        for key in set(self.jobs) - wanted:
            self.flow.engine.cancel(self._take(key).ticket)
        self._later = [missing[key] for key in wanted - set(self.jobs)]
        if self._later:
            ahead = WorkAhead("training", self._planned.index, self._later)
            with self.flow.progress.stage("start"):
                self.flow.engine.choose(ahead)
                self.flow.engine.start()
            self._submit(self._planned)

    def _submit(self, planned: Planned) -> None:
        """Submit what waits for nothing but its turn: first the common starts, then what the
        earlier runs need, and of one run the most work."""
        first = {build.spec.key for build in planned.plan.first}
        ready = [build for build in self._later if build.spec.start not in first]
        self._later = [build for build in self._later if build.spec.start in first]
        turns = dict[str, int]()
        for turn, keys in enumerate(self.needs.values()):
            turns |= dict.fromkeys(keys - turns.keys(), turn)
        for build in sorted(most_work_first(ready), key=lambda build: turns.get(build.spec.key, 0)):
            ticket = self.flow.engine.submit(self.flow.job(planned, build))
            self.jobs[build.spec.key] = Retrain(
                ticket,
                self._plans,
                time.monotonic(),
                self._expected(build),
                build.difference is not None,
            )

    def _keys(self, constituent: AffectedConstituent, missing: Mapping[str, Build]) -> set[str]:
        """The keys of the missing constituents that a run waits for. A common start, and statistics
        that a state of an earlier release lacks, every run waits for."""
        return {
            key
            for key, build in missing.items()
            if constituent is None
            or build.spec.groups is not None
            or not build.trains
            or not build.spec.shards
            or constituent in build.spec.shards
        }

    def _expected(self, build: Build) -> int:
        """Record passes that a job will take, by the configuration. A closed form sees each record
        once."""
        learner = self.flow.config.members[build.spec.member].learner
        epochs = getattr(learner, "epochs", 1)
        return max(1, build.passes * int(epochs))

    def collect(
        self, seconds: float
    ) -> tuple[list[AffectedConstituent], dict[AffectedConstituent, LmeraserError]]:
        """Wait for a job, at most so many seconds. Returns the runs that have all they need now,
        and the runs of which a job failed, with its error."""
        failed: dict[AffectedConstituent, LmeraserError] = {}
        with self.flow.progress.stage("training"):
            outcomes = self.flow.engine.wait(seconds)
        by_ticket = {job.ticket: key for key, job in self.jobs.items()}
        for outcome in outcomes:
            key = by_ticket[outcome.ticket]
            job = self._take(key)
            if outcome.error is None:
                self._keep(outcome.result)
            elif isinstance(outcome.error, VerificationError) and job.plan != self._plans:
                self.stale = True  # a publication purged its buckets; the latest plan has new ones
                continue
            elif isinstance(outcome.error, VerificationError) and job.subtracts:
                self.stale = True  # purged or damaged: what is subtracted from is only a shortcut
                self._counts.add(key)
                continue
            else:
                error = (
                    outcome.error
                    if isinstance(outcome.error, LmeraserError)
                    else ExecutionError(str(outcome.error))
                )
                failed |= {
                    constituent: error for constituent, keys in self.needs.items() if key in keys
                }
            for keys in self.needs.values():
                keys.discard(key)
        for constituent in failed:
            del self.needs[constituent]
        done = [constituent for constituent, keys in self.needs.items() if not keys]
        for constituent in done:
            del self.needs[constituent]
        return done, failed

    def _keep(self, trained: Trained) -> None:
        """Remember what a job made."""
        self.made.update(trained.objects)
        self.passes[trained.key] = trained.passes
        planned = self._planned
        if planned and any(build.spec.key == trained.key for build in planned.plan.first):
            self._planned = replace(planned, plan=planned.plan.begun(trained.objects))
            self._submit(self._planned)

    def _take(self, key: str) -> Retrain:
        """Remove a job that has ended."""
        job = self.jobs.pop(key)
        self.seconds += time.monotonic() - job.since
        return job

    def progress(self, constituent: AffectedConstituent) -> TrainingProgress | None:
        """How far a run is, by the record passes of its slowest job. A job that has reported none
        has not begun: cancelling it loses nothing."""
        jobs = [self.jobs[key] for key in self.needs.get(constituent, ()) if key in self.jobs]
        if not jobs:
            return None
        since = min(job.since for job in jobs)
        elapsed = time.monotonic() - since
        share = min(self.flow.engine.records(job.ticket) / job.passes for job in jobs)
        return (
            TrainingProgress(elapsed, elapsed * (1 - share) / share)
            if share > 0
            else TrainingProgress(0.0, None)
        )

    def manifest(self, current: PublishedState, leaving: set[str]) -> Manifest | None:
        """The state without these records, with all of its constituents. None where it needs one
        that a run is still training."""
        if self._planned is not None and self._leaving == leaving and not self.needs:
            found = self._missing_made(self._planned)
            if found is not None:
                return self.flow.manifest(self._planned, found)
        buckets = buckets_without(current, leaving)
        if self.running:
            planned = self.flow.plan(buckets, current.manifest, current.index)
            lacks = planned.plan.build or planned.plan.first
            return None if lacks else self.flow.manifest(planned, {})
        evaluated = self.flow.evaluate(buckets, current.manifest, current.index)
        self.passes |= {trained.key: trained.passes for trained in evaluated.trained}
        return evaluated.manifest

    def published(self, names: set[str]) -> bool:
        """Note that records have left the published state. Returns whether the plan of the jobs
        under way still has some of them, so that it must be made again."""
        if self._leaving <= names and not self.needs:
            self._planned = None
        return bool(self.needs) and not names <= self._leaving

    def _missing_made(self, planned: Planned) -> dict[str, StoredObject] | None:
        """The constituents that the plan lacked, by key; None where one is not made yet."""
        missing = (*planned.plan.first, *planned.plan.build)
        keys = [key for build in missing for key in build.makes]
        return (
            {key: self.made[key] for key in keys} if all(key in self.made for key in keys) else None
        )

    def wanted(self) -> list[StoredObject]:
        """What a purge must leave: the objects of the latest plan, until the state that it plans is
        published."""
        if self._planned is None:
            return []
        planned = self._planned
        made = (self.made[key] for key in planned.plan.keys if key in self.made)
        return [*planned.needed(), *made]

    def expected(self) -> list[tuple[Kind, str]]:
        """The objects, by kind and key, that jobs under way may write at any moment."""
        waited = set[str]().union(*self.needs.values())
        builds = self._planned.plan.build if self._planned else ()
        sums = {build.spec.key: build.spec.statistics for build in builds}
        found: list[tuple[Kind, str]] = [("constituents", key) for key in waited]
        return [*found, *(("statistics", kept) for key in waited if (kept := sums.get(key)))]

    def facts(self, before: Manifest, after: Manifest, removed: int) -> Facts:
        """What a publication changes."""
        known, items = before.trained.keys(), after.trained
        rebuilt, reused = sorted(items.keys() - known), sorted(items.keys() & known)
        numerics: list[dict[str, Any]] = []
        for key in rebuilt:
            found = Constituent.from_bytes(self.flow.store.read(items[key])).about.get("numerics")
            if found is not None and found not in numerics:
                numerics.append(found)
        return Facts(
            rebuilt=tuple(rebuilt),
            reused=len(reused),
            reused_digest=key_of("reused", "".join(reused).encode()),
            shards=len(after.shards),
            reclustered=before.partitions != after.partitions,
            passes=sum(self.passes.get(key, 0) for key in rebuilt),
            removed=removed,
            numerics=tuple(numerics),
            seen=before.seen - after.seen,
        )

    def snapshot(
        self, constituents: Mapping[AffectedConstituent, Sequence[str]]
    ) -> list[dict[str, Any]]:
        """The runs in training: shard (None: all), how many requests, share done, seconds so far
        and to come; keys, of: the first few keys that are trained, and the first few requests by
        id. constituents: the requests of each run."""
        found = []
        for constituent in self.needs:
            progress = self.progress(constituent)
            remaining = progress.remaining if progress else None
            whole = progress.elapsed + remaining if progress and remaining is not None else None
            found.append(
                {
                    "shard": constituent,
                    "requests": len(constituents.get(constituent, ())),
                    "constituents": len(self.needs[constituent]),
                    "keys": sorted(self.needs[constituent])[:NAMED],
                    "of": sorted(constituents.get(constituent, ()))[:NAMED],
                    "share": round(progress.elapsed / whole, 4) if progress and whole else None,
                    "seconds": round(progress.elapsed, 3) if progress else None,
                    "remaining": round(remaining, 3) if remaining is not None else None,
                }
            )
        return found


def buckets_without(current: PublishedState, leaving: set[str]) -> list[Bucket]:
    """The buckets of a state without these records."""
    return remaining(current.store, current.index, current.mask(leaving))
