"""Answers of the published state to encoded pictures.

    pictures of several callers → one published state → one outcome a picture, in their order

Invariants: an answer that begins after a publication, or a quarantine, is of the new state, since
each begins with reading the pointer; the other pictures of a batch change no byte of it; a picture
that cannot be used says why and fails alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from threading import Lock

from lmeraser_ray.data.sources.entry import Picture
from lmeraser_ray.operations.predict import Asker, Predicting, gathered
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import Published


@dataclass(frozen=True, slots=True)
class PictureAnswer:
    """What the state says of one picture. classes: all of the state, sorted; probabilities: of
    each; shards: the numbers of those that answered; fingerprint: of the state."""

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    shards: tuple[int, ...]
    fingerprint: str

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the k most probable classes, the highest first, ties in the order of classes."""
        pairs = zip(self.classes, self.probabilities, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])[:k]


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a picture has no answer."""

    reason: str


Outcome = PictureAnswer | Unusable


class Predictor:
    """Answers pictures by whatever state is published; the backbone is loaded once, at the first
    picture or by `warm`. Safe for threads, which take turns."""

    def __init__(self, session: Session) -> None:
        self._session, self._turn = session, Lock()
        self._asker: Asker | None = None

    def warm(self) -> None:
        """Load the backbone. Errors: `DataError` where nothing is published that could answer."""
        with self._turn:
            self._loaded().worker.backbone  # noqa: B018 - loads it

    def answer(self, pictures: Sequence[bytes]) -> list[Outcome]:
        """Answer encoded pictures by one published state. Errors: `DataError` where nothing is
        published that could answer."""
        named = [
            Picture(str(at), "the picture", partial(bytes, image))
            for at, image in enumerate(pictures)
        ]
        with self._turn:
            asker = self._loaded()

            def by(state: Published) -> Predicting:
                return gathered([asker.answer(state, one) for one in asker.chunks(named, "skip")])

            done = self._session.consistently(by)
        found: dict[int, Outcome] = {one.at: Unusable(one.reason) for one in done.unreadable}
        said, fingerprint = done.predictions, done.manifest.fingerprint
        for name, row, shards in zip(
            done.names, said.probabilities.tolist(), said.routes.shards.tolist(), strict=True
        ):
            answered = tuple(sorted({done.manifest.shards[place].number for place in shards}))
            found[int(name)] = PictureAnswer(said.classes, tuple(row), answered, fingerprint)
        return [found[at] for at in range(len(pictures))]

    def _loaded(self) -> Asker:
        if self._asker is None:
            self._asker = Asker(self._session)
        return self._asker


def answered_together(
    answer: Callable[[Sequence[bytes]], Sequence[Outcome]], asked: Sequence[Sequence[bytes]]
) -> list[Sequence[Outcome]]:
    """Answer the pictures of several requests by one call. Returns each request's, in its order."""
    found = answer([picture for pictures in asked for picture in pictures])
    ends = accumulate(map(len, asked), initial=0)
    return [found[begin:end] for begin, end in pairwise(ends)]
