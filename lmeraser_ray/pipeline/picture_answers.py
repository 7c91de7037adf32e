"""Pictures that are not stored, as queries: which shards answer them, and how the answers are
combined.

    pixels ─► routes ─► answers of the shards ─► predictions

Place in the flow: `predict` asks the shards of a published state, an exported model its own.
Invariants: a prediction does not depend on the other pictures; features are computed only where the
aggregation or a learner needs them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.feature_file import Features, require_finite
from lmeraser_ray.data.reader import Pixels, pixel_hashes
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.aggregation.routes import Predictions, Queries, combine
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.pipeline.answering import MemberServing, route_members, servings_of
from lmeraser_ray.pipeline.jobs import Worker
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.storage.store import Store


@dataclass(frozen=True)
class AnsweringShards:
    """The shards that answer, wherever they are kept. servings: of each system that has shards, by
    its place in the blend; members: the system of each shard, by the shard's place; read: the
    constituent of the shard at a place."""

    servings: Mapping[int, MemberServing]
    members: Sequence[int]
    read: Callable[[int], Constituent]

    @classmethod
    def stored(cls, store: Store, manifest: Manifest) -> "AnsweringShards":
        """Those of a state in a store."""
        shards = manifest.shards

        def read(place: int) -> Constituent:
            return Constituent.from_bytes(store.read(shards[place].constituent))

        return cls(servings_of(store, manifest), [shard.member for shard in shards], read)

    def predict(
        self, worker: Worker, pixels: Pixels, names: Sequence[str], classes: tuple[str, ...]
    ) -> Predictions:
        """Predict q ≥ 1 pictures [q, 3, s, s] uint8. names: of the pictures, for errors; classes:
        all labels that any shard can answer, sorted."""

        @cache
        def features() -> Features:
            batch = worker.card.batch
            starts = range(0, len(pixels), batch)
            found = np.concatenate(
                [worker.backbone.features(pixels[at : at + batch]) for at in starts]
            )
            require_finite(found, lambda rows: [names[row] for row in rows])
            return found

        def answers_of(place: int, found: NDArray[np.int64]) -> Answers:
            member = self.members[place]
            needs = worker.learners[member].needs
            seen = features() if needs == "features" else pixels
            group = place - self.servings[member].first
            return worker.answer(self.read(place), seen[found], group, member)

        queries = Queries(len(pixels), features, lambda: pixel_hashes(pixels))
        routes = route_members(worker.config, self.servings, queries)
        asked = routes.queries()
        answers = {place: answers_of(place, found) for place, found in asked.items()}
        return combine(routes, asked, answers, classes)
