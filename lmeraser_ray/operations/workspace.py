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
    ...     work = workspace.cost(["digit-0042"]).erasure
    ...     trained.manifest.training_records, work.shards, workspace.verify().ok
    (1437, 1, True)

Each method does what the verb of the same name does, and is one call of the module of that name in
this folder; `cost` and the studies are in `workspace_studies`, what keeps a workspace in
`workspace_keeping`. `serve` is the command line's: it lives as long as a process.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from lmeraser_ray.config.several import several
from lmeraser_ray.operations.workspace_keeping import WorkspaceKeeping, path_of
from lmeraser_ray.operations.workspace_studies import WorkspaceStudies
from lmeraser_ray.pipeline.progress import Progress, in_notebook
from lmeraser_ray.storage.paths import Location, location

if TYPE_CHECKING:  # each is imported by what needs it: some bring torch, all the database
    from lmeraser_ray.config.from_python import Fields, Given
    from lmeraser_ray.erasure.certificate.keystore import KeyFolder
    from lmeraser_ray.erasure.certificate.ledger_head import SignedHead
    from lmeraser_ray.erasure.certificate.verifier import Certificate
    from lmeraser_ray.erasure.queue.overview import Overview
    from lmeraser_ray.erasure.requests.events import Event, Say
    from lmeraser_ray.erasure.requests.request import ErasureRequest
    from lmeraser_ray.erasure.requests.search import RequestSearch
    from lmeraser_ray.operations.audit import Audit
    from lmeraser_ray.operations.evaluate import Evaluation
    from lmeraser_ray.operations.keys import Keys, What
    from lmeraser_ray.operations.predict import OnError, Predicting
    from lmeraser_ray.operations.queue import Done
    from lmeraser_ray.operations.train import Training
    from lmeraser_ray.operations.unlearn import Unlearning
    from lmeraser_ray.operations.verify import Verification

WITHDRAWN = "withdrawn by its submitter"


class Workspace(WorkspaceStudies, WorkspaceKeeping):
    """A folder that holds records, features, constituents and the manifest that names them."""

    def __init__(
        self,
        root: str | Location,
        *,
        overrides: Iterable[tuple[str, str]] = (),
        progress: Progress | None = None,
    ) -> None:
        """root: a folder, or a URL such as s3://bucket/prefix; it need not exist before `train`.

        overrides: execution and queue fields that differ from the last training's, such as
        `[("execution.engine", "inline")]`. progress: shows bars; without it, a notebook does.
        """
        from lmeraser_ray.pipeline.session import Session

        self.session = Session(
            location(str(root)),
            progress or Progress(quiet=not in_notebook()),
            overrides=several(overrides, "overrides"),
        )

    def __repr__(self) -> str:
        return f"Workspace({str(self.session.root)!r})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what is published."""
        state = self.session.folder.state() if self.session.folder.current() else None
        if state is None:
            return f"<p>{escape(repr(self))}: nothing is published</p>"
        return f"<p>{escape(repr(self))}: {escape(repr(state.manifest))}</p>"

    def train(
        self,
        config: "Given" = None,
        *,
        system: str | None = None,
        data: object = None,
        backbone: "Fields" = None,
        partition: "Fields" = None,
        learner: "Fields" = None,
        aggregation: "Fields" = None,
        execution: "Fields" = None,
        queue: "Fields" = None,
        seed: int | None = None,
    ) -> "Training":
        """Train and publish. config: the path of a YAML file, a mapping or a `Config`; without it,
        what `lmeraser train` takes. Fields of a section are laid over it:
        `train("my.yaml", learner={"epochs": 3})`.

        data: fields, or records in memory, or both as `{"records": …, "label_column": "kind"}`.
        Records are a pandas data frame, an Arrow table or a mapping of columns, whose names are
        fields of the section; or a data set of torch, or a list, of (picture, label). Errors:
        `TypeError` for what holds no records."""
        from lmeraser_ray.config.from_python import given, with_records
        from lmeraser_ray.data.sources.memory import HeldRecords
        from lmeraser_ray.operations.preflight import check_training

        fields, records = with_records(data)
        found = given(
            config,
            system=system,
            data=fields,
            backbone=backbone,
            partition=partition,
            learner=learner,
            aggregation=aggregation,
            execution=execution,
            queue=queue,
            seed=seed,
        )
        held = None if records is None else HeldRecords.of(records)
        # before torch is imported: it takes seconds
        check_training(self.session.root, found, held)
        from lmeraser_ray.operations.train import train

        return train(self.session, found, held)

    def predict(
        self, images: object, *, image_column: str | None = None, on_error: "OnError" = "refuse"
    ) -> "Predicting":
        """Predict pictures: a list of paths (files, folders, patterns, Parquet files), bytes, PIL
        pictures, arrays or tensors; or a data set, a data frame or an array [n, …].

        on_error: `skip` leaves out what cannot be used, and the result says so.
        """
        from lmeraser_ray.operations.predict import predict

        return predict(self.session, images, column=image_column, on_error=on_error)

    def predict_each(
        self, images: object, *, image_column: str | None = None, on_error: "OnError" = "skip"
    ) -> "Iterator[Predicting]":
        """Yield predictions of a stream of pictures as `predict` takes them, chunk by chunk: memory
        does not grow with their number."""
        from lmeraser_ray.operations.predict import predict_each

        return predict_each(self.session, images, column=image_column, on_error=on_error)

    def evaluate(self, *, worst: int = 0) -> "Evaluation":
        """Measure how good the predictions of test records are, and the accuracy on the training
        records that remain. worst: how many of the surest mistakes are returned, with pictures."""
        from lmeraser_ray.operations.evaluate import evaluate

        return evaluate(self.session, worst=worst)

    def unlearn(
        self,
        *,
        records: Iterable[str] = (),
        subjects: Iterable[str] = (),
        quarantine: bool = False,
        keys: str | Path | None = None,
    ) -> "Unlearning":
        """Erase records, and subjects with all their records, and return the certified request.

        quarantine: the constituents that were trained on them stop answering at once; keys: the
        folder of the signing keys.
        """
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.erasure.requests.targets import ErasureTargets
        from lmeraser_ray.operations.unlearn import unlearn

        named = ErasureTargets(records, subjects)
        return unlearn(self.session, named, quarantine=quarantine, keys=key_folder(path_of(keys)))

    def submit(
        self,
        *,
        records: Iterable[str] = (),
        subjects: Iterable[str] = (),
        key: str | None = None,
        due: datetime | None = None,
        submitter: str | None = None,
        quarantine: bool = False,
        legal_basis: str | None = None,
        identity: str | None = None,
    ) -> "ErasureRequest":
        """Commit an erasure request and return it at once; a queue works it off. legal_basis,
        identity: notes that stay with the request, without the names of the erased."""
        from lmeraser_ray.erasure.requests.submission import SubmissionNotes
        from lmeraser_ray.erasure.requests.targets import ErasureTargets
        from lmeraser_ray.operations.requests import submit

        return submit(
            self.session,
            ErasureTargets(records, subjects),
            key=key,
            due=due,
            submitter=submitter,
            quarantine=quarantine,
            notes=SubmissionNotes(legal_basis, identity),
        )

    def status(self, request: str) -> "ErasureRequest":
        """Return a request as it is now."""
        from lmeraser_ray.operations.requests import status

        return status(self.session, request)

    def history(self, request: str) -> "list[Event]":
        """Return what happened to a request, in order."""
        from lmeraser_ray.operations.requests import history

        return history(self.session, request)

    def requests(
        self, asked: "RequestSearch | None" = None, *, limit: int | None = None
    ) -> "list[ErasureRequest]":
        """Return the erasure requests, or those that a search asks for, the newest first."""
        from lmeraser_ray.erasure.requests.search import RequestSearch
        from lmeraser_ray.operations.requests import search

        return search(self.session, asked or RequestSearch(), limit=limit)

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

    def certify(self, request: str, reason: str, *, with_exceptions: bool) -> "ErasureRequest":
        """Accept what the absence scan found of a request, for a reason, so that the queue
        certifies the erasure with these findings named. Errors: `ConfigError` without
        `with_exceptions`, since the queue certifies all others by itself."""
        from lmeraser_ray.errors import ConfigError
        from lmeraser_ray.operations.requests import certify

        if not with_exceptions:
            raise ConfigError(
                "The queue certifies what it can by itself: certify(with_exceptions=True) accepts "
                "what the absence scan found."
            )
        return certify(self.session, request, reason)

    def work_off(self, *, keys: str | Path | None = None, say: "Say | None" = None) -> "Done":
        """Work off all erasure requests in this process, as `lmeraser queue run` does. say: gets
        each event."""
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.operations.queue import run

        return run(self.session, keys=key_folder(path_of(keys)), say=say or (lambda _: None))

    def certificate(self, request: str, *, keys: str | Path | None = None) -> "Certificate":
        """Return the certificate of an erasure; its signature is checked where the public key is in
        the folder of keys."""
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.operations.certificate import certificate

        return certificate(self.session, request, key_folder(path_of(keys)).public_keys())

    def keys(self, what: "What" = "list", *, folder: str | Path | None = None) -> "Keys":
        """Make the first signing key (`init`), replace it (`rotate`), or only list the keys. They
        are the user's, not the workspace's."""
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.operations.keys import keys

        return keys(key_folder(path_of(folder)), what)

    def fingerprint(self) -> str:
        """Return the SHA-256 over all that is held of the private data."""
        from lmeraser_ray.operations.fingerprint import fingerprint

        return fingerprint(self.session)

    def verify(self, *, rebuild: bool = False) -> "Verification":
        """Check every digest, and the request database; with `rebuild`, train again and compare
        bytes."""
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.operations.verify import verify

        return verify(self.session, rebuild=rebuild, signed=self._kept_head(key_folder()))

    def audit(
        self, *, against: bytes | None = None, rebuild: bool = False, keys: str | Path | None = None
    ) -> "Audit":
        """Check the ledger, every request and every certificate against each other. against: a
        signed head of the ledger that was kept elsewhere."""
        from lmeraser_ray.erasure.certificate.keystore import key_folder
        from lmeraser_ray.operations.audit import audit

        folder = key_folder(path_of(keys))
        public = folder.public_keys()
        signed = self._kept_head(folder)
        return audit(self.session, public, against=against, signed=signed, rebuild=rebuild)

    def _kept_head(self, folder: "KeyFolder") -> "SignedHead | None":
        """Return the ledger's head that the signer keeps beside its keys. Where nothing is
        published there is none, and asking for it would make the secret."""
        from lmeraser_ray.erasure.certificate.ledger_head import kept_head

        return kept_head(folder, self.session.names()) if self.session.folder.current() else None

    @classmethod
    def restore(
        cls,
        root: str | Location,
        source: str | Path,
        *,
        erasures: str | Path | None = None,
        no_later_erasures: bool = False,
    ) -> "Workspace":
        """Return the workspace that a backup is restored to, without the records that were erased
        since. The arguments are those of `operations.restore.restore`."""
        from lmeraser_ray.operations.restore import restore

        found = cls(root)
        restore(
            found.session,
            Path(source),
            erasures=path_of(erasures),
            no_later_erasures=no_later_erasures,
        )
        return found
