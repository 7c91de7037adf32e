"""The features of all training records in their order, in memory or read block by block.

Place in the flow: input of `deletion` and `recluster`, which go through all features a few times.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lmeraser_ray.data.feature_file import Features
from lmeraser_ray.models.partition.chains import Positions


class FeatureRows(Protocol):
    """Features [n, d] float32, by position or from the first to the last in blocks."""

    def at(self, positions: Positions) -> Features:
        """Some of them, in the given order [m, d]."""

    def blocks(self, height: int) -> Iterator[Features]:
        """All of them, `height` rows at a time; the last block may have fewer."""


@dataclass(frozen=True)
class Held:
    """Features [n, d] float32 that are in memory."""

    features: Features

    def at(self, positions: Positions) -> Features:
        """Some of them, in the given order [m, d]."""
        return self.features[positions]

    def blocks(self, height: int) -> Iterator[Features]:
        """All of them, `height` rows at a time."""
        return joined([self.features], height)


def joined(parts: Iterable[Features], height: int) -> Iterator[Features]:
    """Rows that come in parts of any height, in blocks of `height`; the last one may have fewer."""
    waiting: list[Features] = []
    rows = 0
    for part in parts:
        at = 0
        while rows + len(part) - at >= height:
            end = at + height - rows
            yield np.concatenate([*waiting, part[at:end]]) if waiting else part[at:end]
            waiting, rows, at = [], 0, end
        if at < len(part):
            waiting.append(part[at:])
            rows += len(part) - at
    if waiting:
        yield np.concatenate(waiting)
