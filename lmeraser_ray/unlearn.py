"""`unlearn`: remove records, evaluate the same function again, publish, purge. There is no other unlearning algorithm.

    ids → live records → tombstones (from here on it will happen, whatever crashes) → buckets without them → flow → publish → purge

Invariants: an unknown id changes nothing; a crash after the tombstones is finished by the next `unlearn` or `train`; until the new state
is published the old one answers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.data.buckets import Bucket, read_rows, without
from lmeraser_ray.data.names import typed_name
from lmeraser_ray.errors import ConfigError, DataError, LmeraserError
from lmeraser_ray.flow import Evaluated, load_inputs
from lmeraser_ray.index import RecordIndex
from lmeraser_ray.session import Session
from lmeraser_ray.state.manifest import Manifest
from lmeraser_ray.state.store import Store
from lmeraser_ray.state.tombstones import Tombstones, What


@dataclass(frozen=True)
class Request:
    """What is to be erased: record ids, and subjects with all their records."""

    records: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unlearning:
    """What an erasure did: how many records went, and which ids had been erased before. `evaluated` is None if nothing was left to do."""

    before: Manifest
    after: Manifest
    removed: int
    already: tuple[str, ...]
    evaluated: Evaluated | None

    @property
    def passes(self) -> int:
        """Records times epochs that were trained."""
        return sum(trained.passes for trained in self.evaluated.trained) if self.evaluated else 0


@dataclass(frozen=True)
class Resolved:
    """A request against the live records: whose rows go [n] bool, and which ids were erased before."""

    gone: NDArray[np.bool_]
    already: tuple[str, ...]


def unlearn(session: Session, request: Request) -> Unlearning:
    """Erase records and publish the state that never saw them.

    Errors: `DataError` that names the ids which are not known; then nothing is changed.
    """
    if not request.records and not request.subjects:
        raise ConfigError("Nothing to unlearn was named: give --records, --subjects or --file.")
    folder, progress = session.folder, session.progress
    folder.require()
    with folder.locked():
        before, config = folder.require_published(), session.config()
        refuse_other_weights(session, config, before)
        tombstones = folder.tombstones()
        with progress.stage("plan"):
            index = RecordIndex.read(folder.store, [state.bucket for state in before.buckets])
            resolved = resolve(index, request, tombstones)
        if not resolved.gone.any() and not folder.erasing:
            folder.publish(before)  # purges what a worker that outlived its command may have left
            return Unlearning(before, before, 0, resolved.already, None)
        interrupted = folder.erasing
        folder.begin_erasing()
        tombstones.add(np.array(index.names("record_id"), object)[resolved.gone], request.subjects)
        with progress.stage("plan"):
            gone = resolved.gone | unfinished(index, tombstones) if interrupted else resolved.gone
            buckets = remaining(folder.store, index, gone)
        with session.flow(folder.store, config, before.backbone, before.partition) as flow, unfinished_erasure():
            evaluated = flow.evaluate(buckets, before)
            with progress.stage("publish"):
                folder.publish(evaluated.manifest)
                folder.end_erasing()
    return Unlearning(before, evaluated.manifest, int(gone.sum()), resolved.already, evaluated)


def refuse_other_weights(session: Session, config: Config, before: Manifest) -> None:
    """Errors: `ConfigError`, before anything is erased, where `--backbone.weights` names others than the workspace was trained with."""
    if any(name == "backbone.weights" for name, _ in session.overrides) and load_inputs(config).card != before.backbone:
        raise ConfigError(f"--backbone.weights {config.backbone.weights} are not the weights that {session.root} was trained with.")


@contextmanager
def unfinished_erasure() -> Iterator[None]:
    """Say of any error that comes after the tombstones what it means for the erasure."""
    try:
        yield
    except LmeraserError as error:
        raise type(error)(f"{error} The erasure is noted and unfinished, the old state answers: run the command again.") from error


def resolve(index: RecordIndex, request: Request, tombstones: Tombstones) -> Resolved:
    """Find the rows that a request names. Errors: `DataError` with the unknown ids."""
    already: list[str] = []
    unknown: list[str] = []
    gone = np.zeros(len(index), np.bool_)
    asked: tuple[tuple[What, str, tuple[str, ...]], ...] = (
        ("record", "record_id", request.records),
        ("subject", "subject_id", request.subjects),
    )
    for what, column, names in asked:
        wanted = set(names)
        present = index.names(column)
        hit = np.fromiter((name in wanted for name in present), np.bool_, len(present))
        gone |= hit
        for name in sorted(wanted - set(np.array(present, object)[hit])):
            (already if tombstones.covers(what, name) else unknown).append(name)
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise DataError(f"The workspace holds no record or subject {shown}: nothing was changed. Correct the ids and try again.")
    return Resolved(gone, tuple(already))


def unfinished(index: RecordIndex, tombstones: Tombstones) -> NDArray[np.bool_]:
    """The rows that an interrupted erasure meant, besides those of this one [n] bool."""
    pairs = zip(index.names("record_id"), index.names("subject_id"), strict=True)
    return np.array([tombstones.cover(name, subject) for name, subject in pairs], np.bool_)


def remaining(store: Store, index: RecordIndex, gone: NDArray[np.bool_]) -> list[Bucket]:
    """The buckets without the rows that go [n] bool; those that lose none are as they were."""
    listing = store.listing()
    left: list[Bucket] = []
    for i, bucket in enumerate(index.buckets):
        leaving = gone[index.of_bucket(i)]
        kept = without(store, listing, bucket, read_rows(store, bucket), ~leaving) if leaving.any() else bucket
        if kept:
            left.append(kept)
    return left


def parse_request(records: Sequence[str], subjects: Sequence[str]) -> Request:
    """Ids as a person typed them: parts between commas, white space around them dropped, repeats dropped."""

    def parts(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(typed_name(part) for text in texts for part in text.split(",") if part.strip()))

    return Request(parts(records), parts(subjects))


if __name__ == "__main__":
    from lmeraser_ray.cli import main

    main("unlearn")
