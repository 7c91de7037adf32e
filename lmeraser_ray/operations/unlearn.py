"""`unlearn`: submit an erasure request and wait for its certificate. There is no unlearning
algorithm and no second way to erase.

    ids → submit → the queue (one that serves, else in this process)
        → published without them → purged → searched → certified

>>> from pathlib import Path
>>> targets = ErasureTargets(records=("digit-0042",), subjects=("person-17",))
>>> done = unlearn(Session(Path("workspace")), targets)  # doctest: +SKIP
>>> done.request.state, done.removed, done.before != done.after  # doctest: +SKIP
(<State.CERTIFIED: 'CERTIFIED'>, 11, True)

Invariants: an unknown id changes nothing; once the request is planned it will happen, whatever
crashes; until the new state is published the old one answers; what is said of an erasure that did
not come to its end is read from the state of its request.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmeraser_ray.erasure.absence.told_scan import tested_only
from lmeraser_ray.erasure.certificate.keystore import KeyFolder, key_folder
from lmeraser_ray.erasure.certificate.statement import Statement, read_statement
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, DataError, ExecutionError, LmeraserError
from lmeraser_ray.operations.asked_names import held_alike, held_records
from lmeraser_ray.operations.readiness import require_ready
from lmeraser_ray.operations.requests import status, submit, told, wait
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace
from lmeraser_ray.storage.database.pseudonyms import TargetKind
from lmeraser_ray.storage.store import Store
from lmeraser_ray.storage.times import utcnow

if TYPE_CHECKING:  # with torch: not where another queue works
    from lmeraser_ray.erasure.queue.loop import Queue


@dataclass(frozen=True)
class Unlearning:
    """What an erasure did, as its certificate says.

    already: asked ids that had been erased before; before, after: the fingerprints that were
    published before the request and after it; seen: how many of the erased records the sweep saw
    that chose the configuration.
    """

    request: ErasureRequest
    statement: Statement
    already: tuple[str, ...]
    before: str
    after: str
    seen: int

    def __repr__(self) -> str:
        return (
            f"Unlearning({self.request.id} {self.request.state}: {self.removed:,} removed, "
            f"{len(self.rebuilt)} trained again, {self.reused} reused)"
        )

    @property
    def removed(self) -> int:
        """How many records were removed."""
        return len(self.statement.erased.records)

    @property
    def tested_only(self) -> bool:
        """Whether all removed records were held out for testing: nothing was trained on them."""
        return tested_only(self.statement.scan, self.removed)

    @property
    def rebuilt(self) -> tuple[str, ...]:
        """The keys of the constituents that were trained again."""
        return self.statement.constituents.rebuilt

    @property
    def reused(self) -> int:
        """How many constituents were reused."""
        return self.statement.constituents.reused

    @property
    def reclustered(self) -> bool:
        """Whether the partition changed."""
        return self.statement.reclustered

    @property
    def passes(self) -> int:
        """The record passes that were trained (records times epochs)."""
        return self.statement.passes


def unlearn(
    session: Session,
    targets: ErasureTargets,
    *,
    quarantine: bool = False,
    keys: KeyFolder | None = None,
) -> Unlearning:
    """Erase records, and publish the state that never saw them.

    quarantine: what was trained on them stops answering at once; keys: the signing keys, those of
    the default folder if None. Errors: `DataError` that names unknown ids, then nothing is changed;
    `ExecutionError` where another command holds the workspace, and those of `require_ready`, then
    nothing is submitted.
    """
    if not targets.records and not targets.subjects:
        raise ConfigError("Nothing to unlearn was named: give --records, --subjects or --file.")
    keys = keys or key_folder(None)
    session.folder.require()
    published = session.folder.require_published()
    refuse_other_weights(session, published)
    seen = session.consistently(
        lambda state: seen_by_choice(session.folder.store, state.manifest, targets)
    )
    closed = close(session, targets, quarantine=quarantine, keys=keys)
    statement, already = erased_by(session, closed, targets)
    after = session.folder.require_published().fingerprint
    return Unlearning(closed, statement, already, published.fingerprint, after, seen)


def seen_by_choice(store: Store, manifest: Manifest, targets: ErasureTargets) -> int:
    """Count the live records among the targets that were seen by the sweep which chose the
    configuration; 0 where no sweep chose it."""
    if manifest.choice is None:
        return 0
    from lmeraser_ray.data.index import RecordIndex
    from lmeraser_ray.pipeline.choice import flags_in

    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    named = index.held("record_id", targets.records) | index.held("subject_id", targets.subjects)
    return int(flags_in(manifest, index)[named].sum())


def refuse_other_weights(session: Session, before: Manifest) -> None:
    """Errors: `ConfigError`, before anything is erased, where `--backbone.weights` are not the
    weights that the workspace was trained with."""
    if all(name != "backbone.weights" for name, _ in session.overrides):
        return
    from lmeraser_ray.pipeline.flow import load_inputs

    config = session.config()
    if load_inputs(config).card != before.backbone:
        raise ConfigError(
            f"--backbone.weights {config.backbone.weights} are not the weights that "
            f"{session.root} was trained with."
        )


def close(
    session: Session, targets: ErasureTargets, *, quarantine: bool, keys: KeyFolder
) -> ErasureRequest:
    """Submit a request and return it closed: by the queue that serves, else by one in this process.

    Where no queue serves, the request is submitted under the workspace's lock, so that nothing is
    submitted while another command holds it, or where this process could not finish it. Errors, and
    Ctrl-C, say what the state of the request means for the erasure.
    """
    request: str | None = None
    with told(session, lambda: request):
        with session.database() as database:
            while Lease.live(database, utcnow(), session.config().queue.lease):
                request = request or submit(session, targets, quarantine=quarantine).id
                found = wait(session, request, while_served=True)
                if found.state.is_closed:
                    return found
        require_ready(session, keys)
        from lmeraser_ray.erasure.queue.loop import queue_of

        with session.folder.locked() as workspace, queue_of(session, keys=keys) as queue:
            workspace.store.require_room()
            request = request or submit(session, targets, quarantine=quarantine).id
            return work_off(session, workspace, queue, request)


def work_off(
    session: Session, workspace: LockedWorkspace, queue: "Queue", request: str
) -> ErasureRequest:
    """Work in this process until nothing is left to do, and return the request, closed. Errors: the
    last one of the queue."""
    failure: LmeraserError = ExecutionError("The queue has stopped.")
    try:
        queue.work(workspace, patient=False, stop=lambda: False)
        failure = queue.errors[-1] if queue.errors else failure
    except LmeraserError as error:
        failure = error
    with suppress(LmeraserError):  # the database may be what failed
        found = status(session, request)
        if found.state.is_closed:
            return found
    raise failure


def erased_by(
    session: Session, closed: ErasureRequest, targets: ErasureTargets
) -> tuple[Statement, tuple[str, ...]]:
    """The statement of a closed request, and the ids that had been erased before. Errors:
    `DataError` with the unknown ids, `ExecutionError` where the request is not CERTIFIED."""
    names = session.names()
    asked = {
        found: name
        for what, all_of in (("record", targets.records), ("subject", targets.subjects))
        for name in all_of
        for found in names.hashes(what, name)
    }
    outcomes = {
        asked[target.hash]: target.outcome for target in closed.targets if target.hash in asked
    }
    unknown = sorted(name for name, outcome in outcomes.items() if outcome == "unknown")
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:5]) + (
            f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        )
        raise DataError(
            f"The workspace holds no record or subject {shown}: nothing was changed. Correct the "
            f"ids and try again.{alike_of(session, targets, unknown[0])}"
        )
    if closed.state is not State.CERTIFIED:
        raise ExecutionError(f"{closed.standing} {closed.reason or ''}".strip())
    already = tuple(sorted(name for name, outcome in outcomes.items() if outcome == "already"))
    return read_statement(closed.statement or b""), already


def alike_of(session: Session, targets: ErasureTargets, unknown: str) -> str:
    """Return a sentence where a name is held that looks like an unknown one."""
    what: TargetKind = "record" if unknown in targets.records else "subject"
    return held_alike(held_records(session), what, unknown)
