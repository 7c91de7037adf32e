"""WaitingRequests lines in order, for the scheduler: what is first is found, and anything taken
out, in O(log n). Pure.

Invariant: a line's heap holds an entry for each member under its present key; entries of members
that left, or that changed their key, are passed over when they come to the top, and are swept when
they are the majority.
"""

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Key = tuple[float, float, int]
"""What orders tickets: when they are due, when they were received, and the number that each is
given when it is added."""
M = TypeVar("M", int, str)


class PriorityQueue(Generic[M]):
    """Members in the order of their keys; a member is in it once."""

    def __init__(self) -> None:
        self._keys: dict[M, Key] = {}
        self._heap: list[tuple[Key, M]] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, member: M) -> bool:
        return member in self._keys

    def put(self, member: M, key: Key) -> None:
        """Let a member wait under this key, in the place of any other that it had."""
        if self._keys.get(member) != key:
            self._keys[member] = key
            heappush(self._heap, (key, member))
            self._sweep()

    def discard(self, member: M) -> None:
        """Take a member out, if it is in."""
        if self._keys.pop(member, None) is not None:
            self._sweep()

    def first(self) -> tuple[Key, M] | None:
        """The member with the lowest key, and that key."""
        while self._heap:
            key, member = self._heap[0]
            if self._keys.get(member) == key:
                return key, member
            heappop(self._heap)
        return None

    def members(self) -> list[M]:
        """All members, in order. O(n log n)."""
        return sorted(self._keys, key=self._keys.__getitem__)

    def _sweep(self) -> None:
        """Drop stale entries once they outnumber the members: a constant cost for each entry ever
        made."""
        if len(self._heap) > 2 * len(self._keys) + 16:
            self._heap = [(key, member) for member, key in self._keys.items()]
            heapify(self._heap)


class WaitingRequests:
    """Requests that wait for the same thing (a lane, or anything at all): those that may share a
    run, and those that run alone."""

    def __init__(self) -> None:
        self._shared: PriorityQueue[str] = PriorityQueue()
        self._alone: PriorityQueue[str] = PriorityQueue()

    def __len__(self) -> int:
        return len(self._shared) + len(self._alone)

    def __contains__(self, request: str) -> bool:
        return request in self._shared or request in self._alone

    def put(self, request: str, key: Key, *, alone: bool) -> None:
        """Let a request wait, in the place of where it waited before."""
        (self._shared if alone else self._alone).discard(request)
        (self._alone if alone else self._shared).put(request, key)

    def discard(self, request: str) -> None:
        """Take a request out, if it is in."""
        self._shared.discard(request)
        self._alone.discard(request)

    def first(self) -> tuple[Key, str] | None:
        """The request that comes first, and its key."""
        shared = self._shared.first()
        alone = self._alone.first() if self._alone else None
        return min(shared, alone) if shared and alone else shared or alone

    def group(self, *, coalesce: bool) -> list[str]:
        """The requests that the next run takes: the first one, and with it, unless it runs alone,
        all that may share."""
        first = self.first()
        if first is None:
            return []
        return self._shared.members() if coalesce and first[1] in self._shared else [first[1]]

    def joining(self) -> int:
        """How many would join a run that is under way: all that may share, unless one that runs
        alone comes first."""
        first = self.first()
        return len(self._shared) if first and first[1] in self._shared else 0
