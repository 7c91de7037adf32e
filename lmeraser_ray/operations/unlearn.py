"""`unlearn`: submit an erasure request and wait for its certificate. There is no unlearning
algorithm and no second way to erase.

    ids → submit → the queue (one that serves, else in this process) → published without them → purged, scanned → certified

Invariants: an unknown id changes nothing; once the request is planned it will happen, whatever
crashes; until the new state is published the old one answers.
"""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.certificate.keystore import KeyFolder, key_folder
from lmeraser_ray.erasure.certificate.statement import Statement, read_statement
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.queue.loop import Queue, queue_of
from lmeraser_ray.erasure.queue.quarantine import quarantine_request
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, DataError, ExecutionError, LmeraserError
from lmeraser_ray.pipeline.choice import flags_in
from lmeraser_ray.pipeline.flow import load_inputs
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.store import Store


@dataclass(frozen=True)
class Unlearning:
    """What an erasure did, as its certificate says. already: asked ids that had been erased before;
    seen: how many of its records the sweep saw that chose the configuration."""

    request: ErasureRequest
    statement: Statement
    already: tuple[str, ...]
    seen: int = 0

    @property
    def before(self) -> str:
        """The fingerprint of the state before."""
        return self.statement.state.before

    @property
    def after(self) -> str:
        """The fingerprint of the state after."""
        return self.statement.state.after

    @property
    def removed(self) -> int:
        """How many records went."""
        return len(self.statement.erased.records)

    @property
    def rebuilt(self) -> tuple[str, ...]:
        """The keys of the constituents that were trained again."""
        return self.statement.constituents.rebuilt

    @property
    def reused(self) -> int:
        """How many constituents were not."""
        return self.statement.constituents.reused

    @property
    def reclustered(self) -> bool:
        """Whether the partition changed."""
        return self.statement.reclustered

    @property
    def passes(self) -> int:
        """Records times epochs that were trained."""
        return self.statement.passes


def unlearn(
    session: Session,
    request: ErasureTargets,
    *,
    quarantine: bool = False,
    keys: KeyFolder | None = None,
) -> Unlearning:
    """Erase records and publish the state that never saw them.

    quarantine: what was trained on them stops answering at once. keys: the signing keys, those of
    the default place if None. Errors: `DataError` that names the ids which are not known; then
    nothing is changed. `ExecutionError` where another command has the workspace; then nothing is
    submitted.
    """
    if not request.records and not request.subjects:
        raise ConfigError("Nothing to unlearn was named: give --records, --subjects or --file.")
    session.folder.require()
    refuse_other_weights(session, session.folder.require_published())
    seen = session.consistently(
        lambda state: seen_by_choice(session.folder.store, state.manifest, request)
    )
    with session.database() as database:
        closed = settle(
            session, database, request, quarantine=quarantine, keys=keys or key_folder(None)
        )
    return replace(to_report(session, closed, request), seen=seen)


def seen_by_choice(store: Store, manifest: Manifest, request: ErasureTargets) -> int:
    """How many of the live records that a request names the sweep saw which chose the
    configuration; 0 where none did."""
    if manifest.choice is None:
        return 0
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    named = index.held("record_id", request.records) | index.held("subject_id", request.subjects)
    return int(flags_in(manifest, index)[named].sum())


def refuse_other_weights(session: Session, before: Manifest) -> None:
    """Errors: `ConfigError`, before anything is erased, where `--backbone.weights` names others
    than the workspace was trained with."""
    config = session.config()
    if (
        any(name == "backbone.weights" for name, _ in session.overrides)
        and load_inputs(config).card != before.backbone
    ):
        raise ConfigError(
            f"--backbone.weights {config.backbone.weights} are not the weights that "
            f"{session.root} was trained with."
        )


def settle(
    session: Session,
    database: Database,
    request: ErasureTargets,
    *,
    quarantine: bool,
    keys: KeyFolder,
) -> ErasureRequest:
    """Submit the request and see it closed, by the queue that serves or by one in this process."""
    settings = session.config().queue
    known: str | None = None
    while True:
        if Lease.live(database, datetime.now(UTC), settings.lease):
            known = known or submit(session, database, request, quarantine=quarantine)
            closed = watch(database, session, known, settings.lease, settings.poll)
            if closed:
                return closed
            continue  # its queue is gone
        folder = session.folder
        with folder.locked(), queue_of(session, keys=keys) as queue:
            known = known or submit(session, database, request, quarantine=quarantine)
            return work_off(session, folder, queue, known)


def submit(
    session: Session, database: Database, request: ErasureTargets, *, quarantine: bool
) -> str:
    """Commit the request. Returns its id."""
    requests = RequestRepository(database, session.names())
    made = requests.submit(
        request.records, request.subjects, quarantine=quarantine, quota=session.config().queue.quota
    )
    if quarantine:
        quarantine_request(session, made.id)
    return made.id


def watch(
    database: Database, session: Session, request: str, lease: float, poll: float
) -> ErasureRequest | None:
    """Wait until a request is closed. Returns None where nobody works on it any more."""
    requests = RequestRepository(database, session.names())
    while True:
        found = requests.get(request)
        if found.state.is_closed:
            return found
        if not Lease.live(database, datetime.now(UTC), lease):
            return None
        time.sleep(poll)


def work_off(
    session: Session, folder: WorkspaceFolder, queue: Queue, request: str
) -> ErasureRequest:
    """Work in this process until nothing is left to do. Errors: those of the retrains of this
    request."""
    try:
        queue.work(folder, patient=False, stop=lambda: False)
    except LmeraserError as error:
        raise unfinished(error) from error
    found = RequestRepository(queue.database, session.names()).get(request)
    if found.state.is_open:
        raise unfinished(
            queue.errors[-1]
            if queue.errors
            else ExecutionError("The erasure did not come to its end.")
        ) from None
    return found


def unfinished(error: LmeraserError) -> LmeraserError:
    """What an error after the submission means for the erasure."""
    return type(error)(
        f"{error} The erasure is noted and unfinished, the old state answers: run the command "
        "again."
    )


def to_report(session: Session, closed: ErasureRequest, request: ErasureTargets) -> Unlearning:
    """What became of a closed request. Errors: `DataError` with the unknown ids, `ExecutionError`
    where it FAILED."""
    names = session.names()
    asked = {
        names.hash(what, name): name
        for what, all_of in (("record", request.records), ("subject", request.subjects))
        for name in all_of
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
            "ids and try again."
        )
    if closed.state is not State.CERTIFIED:
        raise ExecutionError(f"The erasure request {closed.id} is {closed.state}: {closed.reason}")
    already = tuple(sorted(name for name, outcome in outcomes.items() if outcome == "already"))
    return Unlearning(closed, read_statement(closed.statement or b""), already)
