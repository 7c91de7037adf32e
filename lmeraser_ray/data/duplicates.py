"""Names that must not come twice, in 16 bytes each: the last few thousand as they are, of the
others half of a digest.

add, add, … → every `TOGETHER` names: looked for among all before, then sorted in with them
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.storage.digests import digest

TOGETHER = 1 << 16
Halves = NDArray[np.uint64]
"""Halves of digests [k, 2], ascending by the first column."""


class DuplicateFinder:
    """Which names came before. A name that comes again is told by `add`, or, where the first is
    long ago, by the next `settle`."""

    def __init__(self, together: int = TOGETHER) -> None:
        self._together = together
        self._fresh: dict[bytes, tuple[str, str]] = {}
        self._old: list[Halves] = []

    def add(self, name: str, where: str) -> tuple[str, str] | None:
        """Take note of a name. Returns a name that came twice, with where it was found, if one is
        known now."""
        key = digest("seen", name.encode())[:16]
        if key in self._fresh:
            return name, where
        self._fresh[key] = (name, where)
        return self.settle() if len(self._fresh) >= self._together else None

    def settle(self) -> tuple[str, str] | None:
        """Compare what was added last with all before. Returns as `add`."""
        fresh = np.frombuffer(b"".join(self._fresh), np.uint64).reshape(-1, 2)
        again = next((at for old in self._old for at in common(old, fresh)), None)
        if again is not None:
            return list(self._fresh.values())[again]
        self._fresh = {}
        self._old.append(ascending(fresh))
        while len(self._old) > 1 and len(self._old[-1]) * 2 > len(
            self._old[-2]
        ):  # so that each is sorted in a few times only
            last = self._old.pop()
            self._old[-1] = ascending(np.concatenate([self._old[-1], last]))
        return None


def ascending(halves: Halves) -> Halves:
    """Sorted by the first column."""
    found: Halves = halves[np.argsort(halves[:, 0], kind="stable")]
    return found


def common(old: Halves, fresh: Halves) -> Iterator[int]:
    """The rows of `fresh`, in any order, that are in `old` too."""
    first, last = (np.searchsorted(old[:, 0], fresh[:, 0], side) for side in ("left", "right"))
    for at in np.flatnonzero(last > first).tolist():
        if (old[first[at] : last[at], 1] == fresh[at, 1]).any():
            yield at
