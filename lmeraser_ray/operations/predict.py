"""`predict`: labels of pictures that are not stored, with probabilities and the shards that
answered.

    pictures → chunks of pixels → routes → answers of the shards → one prediction a picture

Invariants: memory holds one chunk, however many pictures are asked; each chunk is answered by one
published state; a prediction does not depend on the other pictures; the probabilities' columns are
all classes of the state, sorted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.reader import Pixels, prepare
from lmeraser_ray.data.sources.entry import Picture
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.models.aggregation.routes import Predictions, Routes, combine
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.operations.asked import asked
from lmeraser_ray.pipeline.answering import require_an_answer
from lmeraser_ray.pipeline.jobs import Worker
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.picture_answers import AnsweringShards
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import Published

if TYPE_CHECKING:
    from pandas import DataFrame

CHUNK_BYTES = 64 << 20
"""Pixels that are in memory at a time, and with them their features and answers."""
MOST_UNREADABLE = 10_000
"""Pictures in a row that cannot be used before they are told."""
OnError = Literal["refuse", "skip"]


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be used: its place among all that were asked, its name, and why."""

    at: int
    name: str
    reason: str


@dataclass(frozen=True)
class Predicting:
    """Predictions of q pictures, and the state that made them, of the shards that may answer.
    names: [q], a path, `a.parquet:7` or `picture 3`; unreadable: the pictures that were left out;
    start: the place of the first among all that were asked."""

    manifest: Manifest
    predictions: Predictions
    names: tuple[str, ...]
    unreadable: tuple[Unreadable, ...] = ()
    start: int = 0

    def __repr__(self) -> str:
        left = f", {len(self.unreadable)} unreadable" if self.unreadable else ""
        return (
            f"Predicting({len(self.names)} pictures{left}, {len(self.predictions.classes)} "
            f"classes, state {self.manifest.fingerprint[:12]})"
        )

    def top(self, k: int) -> list[list[tuple[str, float]]]:
        """Return the k most probable classes of each picture with their probabilities, the highest
        first, ties in the order of the classes. Errors: `ConfigError` where k is not positive."""
        if k < 1:
            raise ConfigError(f"top_k is {k}, expected 1 or more.")
        found = self.predictions
        order = np.argsort(-found.probabilities, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(found.probabilities, order, 1)
        return [
            [(found.classes[c], p) for c, p in zip(places, row, strict=True)]
            for places, row in zip(order.tolist(), best.tolist(), strict=True)
        ]

    def to_pandas(self) -> "DataFrame":
        """Return a row a picture: its name, label, probability, and the probability of each class
        in the columns `probability:CLASS`."""
        from pandas import DataFrame

        found = self.predictions
        best = found.probabilities.max(1, initial=0)
        columns = {"image": self.names, "label": found.labels, "probability": best}
        each = zip(found.classes, found.probabilities.T, strict=True)
        return DataFrame(columns | {f"probability:{name}": column for name, column in each})

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html(max_rows=20, max_cols=12))


def predict(
    session: Session, images: object, *, column: str | None = None, on_error: OnError = "refuse"
) -> Predicting:
    """Predict pictures by one published state, in this process. images: as `asked.asked` takes
    them; on_error: `skip` leaves out what cannot be used, and says so in the result.

    Errors: `DataError` that names the first picture that cannot be used, unless it is skipped.
    """
    pictures, asker = list(asked(images, column)), Asker(session)

    def by(state: Published) -> Predicting:
        return gathered([asker.answer(state, chunk) for chunk in asker.chunks(pictures, on_error)])

    return session.consistently(by)


def predict_each(
    session: Session, images: object, *, column: str | None = None, on_error: OnError = "skip"
) -> Iterator[Predicting]:
    """Yield the predictions of a stream of pictures chunk by chunk, each by the state that is
    published then. Memory holds one chunk. Arguments and errors are those of `predict`."""
    pictures = asked(images, column)
    asker = Asker(session)
    for chunk in asker.chunks(pictures, on_error):
        yield session.consistently(partial(asker.answer, chunk=chunk))


@dataclass
class Chunk:
    """Some pictures of the stream from the `start`-th on: pixels [m, 3, s, s] uint8 of those that
    can be used."""

    start: int = 0
    names: list[str] = field(default_factory=list)
    pixels: list[Pixels] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether the pixels are as many as memory should hold; what cannot be used counts too."""
        return sum(one.nbytes for one in self.pixels[:1]) * len(self.pixels) >= CHUNK_BYTES or (
            len(self.unreadable) >= MOST_UNREADABLE
        )


def decoded(
    pictures: Iterable[Picture],
    spec: PictureSpec,
    max_pixels: int,
    on_error: OnError,
    progress: Progress,
) -> Iterator[Chunk]:
    """Yield pictures as a backbone sees them, at least one chunk. Errors: `DataError` that names a
    picture that cannot be used, unless `on_error` is `skip`."""
    chunk = Chunk()
    for at, picture in enumerate(pictures):
        try:
            with progress.stage("read"):
                pixels = prepare(picture.read(), spec, max_pixels)
        except DataError as error:
            reason = str(error).removeprefix(f"{picture.where}: ")
            if on_error == "refuse":
                raise DataError(f"{picture.where}: {reason}") from error
            chunk.unreadable.append(Unreadable(at, picture.name, reason))
        else:
            chunk.names.append(picture.name)
            chunk.pixels.append(pixels)
        if chunk.full:
            yield chunk
            chunk = Chunk(at + 1)
    yield chunk


class Asker:
    """Decodes pictures, and asks whatever state is published; the backbone is loaded once."""

    def __init__(self, session: Session) -> None:
        self.session, self.config = session, session.config()
        state = session.folder.require_state()
        require_an_answer(session.folder, state)
        learners = make_learners(self.config)
        self.worker = Worker(session.folder.store, self.config, learners, state.manifest.backbone)
        self._classes: dict[tuple[Bucket, ...], tuple[str, ...]] = {}

    def chunks(self, pictures: Iterable[Picture], on_error: OnError) -> Iterator[Chunk]:
        """Yield the decoded pictures, as `decoded` does."""
        spec, pixels = self.worker.card.spec, self.config.data.max_pixels
        return decoded(pictures, spec, pixels, on_error, self.session.progress)

    def answer(self, state: Published, chunk: Chunk) -> Predicting:
        """Predict a chunk by one published state."""
        require_an_answer(self.session.folder, state)
        manifest, classes = state.answering, self.classes(state.manifest)
        names, unreadable = tuple(chunk.names), tuple(chunk.unreadable)
        if not chunk.pixels:
            nobody = Routes(np.empty((0, 1), np.int64), np.empty((0, 1)))
            return Predicting(
                manifest, combine(nobody, {}, {}, classes), names, unreadable, chunk.start
            )
        shards = AnsweringShards.stored(self.session.folder.store, manifest)
        with self.session.progress.stage("answer"):
            found = shards.predict(self.worker, np.stack(chunk.pixels), names, classes)
        return Predicting(manifest, found, names, unreadable, chunk.start)

    def classes(self, manifest: Manifest) -> tuple[str, ...]:
        """The labels of all training records of a state, sorted, those of quarantined shards
        too: read once for each state, a bucket at a time."""
        buckets = tuple(state.bucket for state in manifest.buckets)
        if buckets not in self._classes:
            store = self.session.folder.store
            each = (RecordIndex.read(store, [bucket]).training_labels for bucket in buckets)
            self._classes = {buckets: tuple(sorted(set().union(*each)))}
        return self._classes[buckets]


def gathered(parts: list[Predicting]) -> Predicting:
    """Return the predictions of chunks that one state answered as those of one."""
    found = [part.predictions for part in parts if part.names] or [parts[0].predictions]
    return Predicting(
        parts[0].manifest,
        joined(found),
        tuple(name for part in parts for name in part.names),
        tuple(one for part in parts for one in part.unreadable),
    )


def joined(found: Sequence[Predictions]) -> Predictions:
    """Return predictions that the same shards made, at least one, as one."""
    routes = Routes(
        np.concatenate([one.routes.shards for one in found]),
        np.concatenate([one.routes.weights for one in found]),
        found[0].routes.voters,
    )
    probabilities = np.concatenate([one.probabilities for one in found])
    return Predictions(found[0].classes, probabilities, routes)
