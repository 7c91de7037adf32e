"""The library in one object: a workspace that is trained, asked, made to forget, and checked.

    >>> from tempfile import TemporaryDirectory
    >>> from lmeraser_ray import Workspace
    >>> from lmeraser_ray.config.options import load_config
    >>> config = load_config(None, [
    ...     ("backbone.name", "tiny"), ("backbone.weights", "random"), ("backbone.input_size", "8"),
    ...     ("backbone.readout.layer", "null"), ("learner.kind", "class_means"),
    ...     ("execution.engine", "inline"),
    ... ])
    >>> with TemporaryDirectory() as folder:
    ...     workspace = Workspace(folder)
    ...     trained = workspace.train(config)
    ...     costs = workspace.cost(["digit-0042"]).costs
    ...     trained.manifest.training_records, costs.touched.tolist(), workspace.verify().ok
    (1437, [1], True)

Each method does what the verb of the same name does, and is one call of the module of that name in
this folder. `serve` is the command line's: it lives as long as a process. Studies stand above this
folder: `study.compare.compare`, `study.sweep.sweep`, `study.attack.attack`,
`study.diversity.diversity` and `study.figures.workspace_figures` are plain functions, and the last
two take a workspace's `session`.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import Location, location

if TYPE_CHECKING:  # each is imported by the method that needs it: some bring torch
    from lmeraser_ray.config import Config
    from lmeraser_ray.erasure.certificate.verifier import Certificate
    from lmeraser_ray.erasure.queue.overview import Overview
    from lmeraser_ray.erasure.requests.events import Say
    from lmeraser_ray.erasure.requests.request import ErasureRequest
    from lmeraser_ray.operations.audit import Audit
    from lmeraser_ray.operations.backup import Backup
    from lmeraser_ray.operations.cost import Costing
    from lmeraser_ray.operations.evaluate import Evaluation
    from lmeraser_ray.operations.keys import Keys, What
    from lmeraser_ray.operations.predict import Predicting
    from lmeraser_ray.operations.serve import Done
    from lmeraser_ray.operations.train import Training
    from lmeraser_ray.operations.unlearn import Unlearning
    from lmeraser_ray.operations.verify import Verification

WITHDRAWN = "withdrawn by its submitter"


class Workspace:
    """A folder that holds records, features, constituents and the manifest that names them."""

    def __init__(
        self,
        root: str | Location,
        *,
        overrides: Sequence[tuple[str, str]] = (),
        progress: Progress | None = None,
    ) -> None:
        """root: a folder, or a URL such as s3://bucket/prefix; it need not exist before `train`.

        overrides: execution and queue fields that differ from the last training's, such as
        `[("execution.engine", "inline")]`. progress: shows bars; nothing is shown without it.
        """
        self.session = Session(
            location(str(root)), progress or Progress(quiet=True), overrides=tuple(overrides)
        )

    def __repr__(self) -> str:
        return f"Workspace({str(self.session.root)!r})"

    def train(self, config: "Config | None" = None) -> "Training":
        """Train and publish; without a configuration, the quickstart on handwritten digits."""
        from lmeraser_ray.config.quickstart import quickstart
        from lmeraser_ray.operations.train import train

        return train(self.session, config or quickstart())

    def predict(self, images: Sequence[bytes | Path]) -> "Predicting":
        """Predict encoded pictures or picture files."""
        from lmeraser_ray.operations.predict import predict

        return predict(self.session, images)

    def evaluate(self) -> "Evaluation":
        """Measure the accuracy on test records and on the training records that remain."""
        from lmeraser_ray.operations.evaluate import evaluate

        return evaluate(self.session)

    def cost(self, records: Sequence[str] = ()) -> "Costing":
        """Compute what the deletion of each of these records, or of each training record, would
        train again."""
        from lmeraser_ray.operations.cost import cost

        return cost(self.session, records)

    def unlearn(
        self,
        *,
        records: Sequence[str] = (),
        subjects: Sequence[str] = (),
        quarantine: bool = False,
        keys: Path | None = None,
    ) -> "Unlearning":
        """Erase records, and subjects with all their records, and return the certified request.

        quarantine: the constituents that were trained on them stop answering at once; keys: the
        folder of the signing keys.
        """
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.erasure.requests.targets import ErasureTargets
        from lmeraser_ray.operations.unlearn import unlearn

        named = ErasureTargets(tuple(records), tuple(subjects))
        return unlearn(self.session, named, quarantine=quarantine, keys=key_folder(keys))

    def submit(
        self,
        *,
        records: Sequence[str] = (),
        subjects: Sequence[str] = (),
        key: str | None = None,
        due: datetime | None = None,
        submitter: str | None = None,
        quarantine: bool = False,
    ) -> "ErasureRequest":
        """Commit an erasure request and return it at once; a queue works it off."""
        from lmeraser_ray.erasure.requests.targets import ErasureTargets
        from lmeraser_ray.operations.requests import submit

        return submit(
            self.session,
            ErasureTargets(tuple(records), tuple(subjects)),
            key=key,
            due=due,
            submitter=submitter,
            quarantine=quarantine,
        )

    def status(self, request: str) -> "ErasureRequest":
        """Return a request as it is now."""
        from lmeraser_ray.operations.requests import status

        return status(self.session, request)

    def overview(self, *, first: int = 0) -> "Overview":
        """Return how the queue stands, with so many of the requests to be answered first."""
        from lmeraser_ray.erasure.queue.overview import overview_of

        return overview_of(self.session, first=first)

    def wait(self, request: str, *, timeout_s: float | None = None) -> "ErasureRequest":
        """Wait until a request is closed, and return it."""
        from lmeraser_ray.operations.requests import wait

        return wait(self.session, request, timeout_s=timeout_s)

    def cancel(self, request: str, reason: str = WITHDRAWN) -> "ErasureRequest":
        """Withdraw a request that no queue has begun."""
        from lmeraser_ray.operations.requests import cancel

        return cancel(self.session, request, reason)

    def refuse(self, request: str, reason: str) -> "ErasureRequest":
        """Refuse a request: a legal hold."""
        from lmeraser_ray.operations.requests import refuse

        return refuse(self.session, request, reason)

    def extend(self, request: str, reason: str, *, months: int = 2) -> "ErasureRequest":
        """Put the deadline of a request off by 1 or 2 months, once."""
        from lmeraser_ray.operations.requests import extend

        return extend(self.session, request, months, reason)

    def retry(self, request: str) -> "ErasureRequest":
        """Have a failed request tried again."""
        from lmeraser_ray.operations.requests import retry

        return retry(self.session, request)

    def work_off(self, *, keys: Path | None = None, say: "Say | None" = None) -> "Done":
        """Work off all erasure requests in this process, as `lmeraser queue run` does. say: gets
        each event."""
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.operations.serve import run

        return run(self.session, keys=key_folder(keys), say=say or (lambda _: None))

    def certificate(self, request: str, *, keys: Path | None = None) -> "Certificate":
        """Return the certificate of an erasure; its signature is checked where the public key is in
        the folder of keys."""
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.operations.certificate import certificate

        return certificate(self.session, request, key_folder(keys).public_keys())

    def keys(self, what: "What" = "list", *, folder: Path | None = None) -> "Keys":
        """Make the first signing key (`init`), replace it (`rotate`), or only list the keys. They
        are the user's, not the workspace's."""
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.operations.keys import keys

        return keys(key_folder(folder), what)

    def fingerprint(self) -> str:
        """Return the SHA-256 over all that is held of the private data."""
        from lmeraser_ray.operations.fingerprint import fingerprint

        return fingerprint(self.session)

    def verify(self, *, rebuild: bool = False) -> "Verification":
        """Check every digest; with `rebuild`, train again and compare bytes."""
        from lmeraser_ray.operations.verify import verify

        return verify(self.session, rebuild=rebuild)

    def audit(
        self, *, against: bytes | None = None, rebuild: bool = False, keys: Path | None = None
    ) -> "Audit":
        """Check the ledger, every request and every certificate against each other. against: a
        signed head of the ledger that was kept elsewhere."""
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.operations.audit import audit

        public = key_folder(keys).public_keys()
        return audit(self.session, public, against=against, rebuild=rebuild)

    def backup(self, *, to: Path | None = None, erasures: Path | None = None) -> "Backup":
        """Write the published state, the requests and the secret to one file, or the erasures to
        another, or both."""
        from lmeraser_ray.operations.backup import backup

        return backup(self.session, to=to, erasures=erasures)

    @classmethod
    def restore(
        cls,
        root: str | Location,
        source: Path,
        *,
        erasures: Path | None = None,
        no_later_erasures: bool = False,
    ) -> "Workspace":
        """Return the workspace that a backup is restored to, without the records that were erased
        since. The arguments are those of `operations.restore.restore`."""
        from lmeraser_ray.operations.restore import restore

        found = cls(root)
        restore(found.session, source, erasures=erasures, no_later_erasures=no_later_erasures)
        return found
