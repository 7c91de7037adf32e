"""Shadow models: the system trained through its own flow on many random halves of the records, and
the answers of each model to all records.

    base (all records)
        → half i: the training records that a keyed hash of (seed, i, id) selects
        → trained                                                      → φ of every record
        → without a forget set: unlearned by the flow, or fine-tuned   → φ of every record

Features are computed once, for the base; constituents are found by key. Only the answers of a model
are kept, in a hashed order of the records, so that a result names no record.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.index import RecordIndex, remaining
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.pipeline.answering import Stored, predict_stored
from lmeraser_ray.pipeline.flow import Flow
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.storage.digests import key_of, keyed_hashes, seeded_key
from lmeraser_ray.study.attacks import Floats, margins
from lmeraser_ray.study.hashed_order import hashed_order
from lmeraser_ray.study.study_folder import StudyFolder
from lmeraser_ray.study.unlearners import fine_tune

Members = NDArray[np.bool_]
REMADE = ("records", "pictures", "features")
"""Objects of a half that are quickly made again: they are removed when its answers are known, or
the disk would hold the data set many times."""


@dataclass(frozen=True)
class Answer:
    """The answers of a state. margins [n] float64: the φ of each record's right label, ±∞ where the
    state is certain; accuracy: on test records, None without any."""

    margins: Floats
    accuracy: float | None


@dataclass(frozen=True)
class ForgetSet:
    """Training records that are to be forgotten. name: how they were chosen; gone [n] bool."""

    name: str
    gone: Members


@dataclass(frozen=True)
class Shadows:
    """Trains and asks shadow models. base: the state of all records, whose features all halves
    share."""

    study: StudyFolder
    flow: Flow
    buckets: Sequence[Bucket]
    base: Manifest

    @cached_property
    def index(self) -> RecordIndex:
        """All records."""
        return RecordIndex.read(self.flow.store, self.buckets)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The positions [n] in the order of a keyed hash of the ids, in which answers are kept."""
        return hashed_order(self.index.names("record_id"), self.flow.config.seed, "attack/order")

    def member(self, number: int) -> Members:
        """Return which records [n] model `number` is trained on: each training record with
        probability one half, by its own hash."""
        hashes = keyed_hashes(
            seeded_key(self.flow.config.seed, f"attack/half/{number}"),
            self.index.names("record_id"),
        )
        return np.array([found[0] < 128 for found in hashes], np.bool_) & ~self.index.test

    def random_set(self, count: int) -> ForgetSet:
        """Return a forget set of training records drawn by keyed hash."""
        drawn = [at for at in self.order.tolist() if not self.index.test[at]][:count]
        return ForgetSet("random", self.chosen(drawn))

    def chosen(self, positions: Sequence[int]) -> Members:
        """Return positions as [n] bool."""
        found = np.zeros(len(self.index), np.bool_)
        found[list(positions)] = True
        return found

    def trained(self, number: int) -> Answer:
        """Return the answers of a model before anything is unlearned."""

        def make() -> dict[str, Answer]:
            buckets = self._half(number)
            return {"trained": self.ask(self.flow.evaluate(buckets, self.base).manifest)}

        return self.recalled(f"attack.trained-{number}", [], make)["trained"]

    def unlearned(self, number: int, forget: ForgetSet, share: float | None) -> dict[str, Answer]:
        """Return the answers of a model after its records of a forget set were unlearned: exactly,
        and by fine-tuning where `share` is given."""

        def make() -> dict[str, Answer]:
            buckets = self._half(number)
            before = self.flow.evaluate(buckets, self.base).manifest
            planned = self.flow.plan(buckets, before)
            gone = forget.gone[self._kept(number)]
            after = self.flow.evaluate(
                remaining(self.flow.store, planned.index, gone), before
            ).manifest
            found = {"exact": self.ask(after)}
            if share is not None:
                found["fine-tuning"] = self.ask(
                    fine_tune(self.flow, planned, before, gone, share=share)
                )
            return found

        return self.recalled(
            f"attack.{forget.name}-{number}", [share, self.digest_of(forget)], make
        )

    def digest_of(self, forget: ForgetSet) -> str:
        """Return what kept answers say a forget set was."""
        return key_of("attack/set", np.packbits(forget.gone[self.order]).tobytes())

    def ask(self, manifest: Manifest, flow: Flow | None = None) -> Answer:
        """Return a state's answers to all records. A class that it never saw has probability 0.
        flow: that made the state, where it is another than the study's."""
        positions = np.arange(len(self.index))
        found = predict_stored(
            flow or self.flow,
            manifest,
            Stored(self.index, [state.features for state in self.base.buckets], positions),
        )
        column = {name: at for at, name in enumerate(found.classes)}
        labels = self.index.names("label")
        places = np.array([column.get(label, -1) for label in labels])
        chosen = np.arange(len(column)) == places[:, None]
        p = found.probabilities.astype(np.float64)
        hit = np.array([a == b for a, b in zip(found.labels, labels, strict=True)], np.bool_)
        test = self.index.test
        return Answer(
            margins((p * chosen).sum(1), (p * ~chosen).sum(1)),
            float(hit[test].mean()) if test.any() else None,
        )

    def _kept(self, number: int) -> Members:
        """Return which records [n] are in a half: its training records, and all test records."""
        return self.member(number) | self.index.test

    def _half(self, number: int) -> list[Bucket]:
        return remaining(self.flow.store, self.index, ~self._kept(number))

    def recalled(self, name: str, made_from: list[Any], make: Any) -> dict[str, Answer]:
        """Return the answers that an earlier run kept, or make and keep them."""
        whole = [self.base.fingerprint, "margins/1", name, *made_from]
        known = self.study.recall(name, whole)
        if known is None:
            known = {what: self.pack(answer) for what, answer in make().items()}
            self.study.note(name, whole, known)
            self.tidy()
        return {what: self.unpack(kept) for what, kept in known.items()}

    def tidy(self) -> None:
        """Remove the halves' own copies of records, pictures and features."""
        keep = set(self.base.objects())
        for item in list(self.flow.store.objects()):
            if item.kind in REMADE and item not in keep:
                self.flow.store.path(item).unlink(missing_ok=True)

    def pack(self, answer: Answer) -> dict[str, Any]:
        """Return answers as JSON: φ as float32 in the hashed order."""
        found = answer.margins[self.order].astype("<f4").tobytes()
        return {"margins": base64.b64encode(found).decode(), "accuracy": answer.accuracy}

    def unpack(self, kept: dict[str, Any]) -> Answer:
        """Read what `pack` returned. φ is rounded to float32 in a first run too, so that a resumed
        study gives the same results."""
        found = np.empty(len(self.order), np.float64)
        found[self.order] = np.frombuffer(base64.b64decode(kept["margins"]), "<f4")
        return Answer(found, kept["accuracy"])
