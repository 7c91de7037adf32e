"""An upper bound on the accuracy of a state of which some constituents are not trained yet; exact
once all are.

A query is lost when its right label cannot win any more, whatever the remaining shards answer:
another label leads by more than their weight. A shard answers only labels that its members have, so
that some queries are lost, and shards of one class have answered, before anything is trained.
Invariants: the bound never rises, and is never below the accuracy of the finished state.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.aggregation.routes import Routes, votes

MARGIN = 1e-6
"""The least lead that counts: probabilities are float32, and sum to 1 only nearly."""


class Bound:
    """The bound over q queries. routes: which shards answer each; labels: the right ones; possible:
    the labels that each shard can answer, by the shard's place."""

    def __init__(
        self, routes: Routes, labels: Sequence[str], possible: Mapping[int, Collection[str]]
    ) -> None:
        self._routes, self.asked = routes, routes.queries()
        self._column = {
            name: i
            for i, name in enumerate(
                sorted({*labels, *(name for found in possible.values() for name in found)})
            )
        }
        self._right = np.array([self._column[label] for label in labels])
        self._known = np.zeros((len(labels), len(self._column)))
        self._hope = np.zeros(len(labels))
        """The most that the remaining shards can add to each query's right label."""
        self._helpers = np.zeros(len(labels), np.int64)
        """How many remaining shards can answer the right label."""
        self._can: dict[int, np.ndarray] = {}
        for place, queries in self.asked.items():
            can = np.array([labels[query] in possible[place] for query in queries])
            self._can[place] = can
            self._hope[queries] += self._weight(place) * can
            self._helpers[queries] += can
            if len(possible[place]) == 1:
                self.hear(
                    place, Answers(tuple(possible[place]), np.ones((len(queries), 1), np.float32))
                )

    def _weight(self, place: int) -> np.ndarray:
        """The weight of a shard's answers to its queries [m]."""
        queries = self.asked[place]
        found: np.ndarray = np.where(
            self._routes.shards[queries] == place, self._routes.weights[queries], 0
        ).sum(1)
        return found

    @property
    def waiting(self) -> set[int]:
        """The places of shards that have not answered."""
        return set(self._can)

    def hear(self, place: int, answers: Answers) -> None:
        """Take in a shard's answers to all of its queries, in their order. Ignored where the shard
        has answered before."""
        can = self._can.pop(place, None)
        if can is None:
            return
        queries, weight = self.asked[place], self._weight(place)
        said = answers.probabilities
        said = votes(said) if place in self._routes.voters else said
        columns = np.array([self._column[name] for name in answers.classes])
        self._known[np.ix_(queries, columns)] += weight[:, None] * said
        self._hope[queries] -= weight * can
        self._helpers[queries] -= can

    @property
    def accuracy(self) -> float:
        """The share of queries that are not lost. Where all shards have answered: the accuracy,
        ties counted as right."""
        rows = np.arange(len(self._right))
        best = self._known[rows, self._right] + np.where(self._helpers > 0, self._hope, 0.0)
        others = self._known.copy()
        others[rows, self._right] = -1.0
        lost = (others.max(1) > best + MARGIN) | (best == 0)
        return float((~lost).mean())  # as `score_of` counts, so that the two compare equal
