"""Finds a record id that a source yields twice, in 16 bytes an id.

    add, add, … → every `TOGETHER` ids: look for them among all earlier ids, then merge them in

Place in the flow: in a source's stream, before a record exists. Memory holds the latest ids as
text, for the error, and of all earlier ids half of a SHA-256 digest.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.storage.digests import digest

TOGETHER = 1 << 16
"""Ids that are kept as text before they are compared with all earlier ids."""
Halves = NDArray[np.uint64]
"""Halves of digests [k, 2], ascending by the first column."""


class DuplicateFinder:
    """The ids that were seen so far. `add` reports a repeated id at once where the first is among
    the latest ids, else with the next `settle`."""

    def __init__(self, together: int = TOGETHER) -> None:
        self._together = together
        self._fresh: dict[bytes, tuple[str, str]] = {}
        self._old: list[Halves] = []

    def add(self, name: str, where: str) -> tuple[str, str] | None:
        """Add an id. Returns an id that occurs twice and where it was found, or None. where: the
        file or row, for the error."""
        key = digest("seen", name.encode())[:16]
        if key in self._fresh:
            return name, where
        self._fresh[key] = (name, where)
        return self.settle() if len(self._fresh) >= self._together else None

    def settle(self) -> tuple[str, str] | None:
        """Compare the latest ids with all earlier ones, and merge them in. Returns as `add`."""
        fresh = np.frombuffer(b"".join(self._fresh), np.uint64).reshape(-1, 2)
        again = next((at for old in self._old for at in common(old, fresh)), None)
        if again is not None:
            return list(self._fresh.values())[again]
        self._fresh = {}
        self._old.append(ascending(fresh))
        # Parts at least double in size, so that each id is sorted a few times only.
        while len(self._old) > 1 and len(self._old[-1]) * 2 > len(self._old[-2]):
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
