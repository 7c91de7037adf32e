"""Priority queues for the scheduler: they find the first member, and take out any member, in
O(log n). Pure.

    >>> queue = PriorityQueue[str]()
    >>> queue.put("later", (2.0, 0.0, 1)); queue.put("sooner", (1.0, 0.0, 2))
    >>> queue.first()
    ((1.0, 0.0, 2), 'sooner')

A heap with lazy deletion. Invariant: the heap holds an entry for each member under its present key;
entries of members that left, or that changed their key, are skipped when they come to the top, and
dropped when they outnumber the members.
"""

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Key = tuple[float, float, int]
"""What orders tickets: when they are due, when they were received, and in which order they were
added."""
M = TypeVar("M", int, str)


class PriorityQueue(Generic[M]):
    """Members in the order of their keys. Each member is in the queue once."""

    def __init__(self) -> None:
        self._keys: dict[M, Key] = {}
        self._heap: list[tuple[Key, M]] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, member: M) -> bool:
        return member in self._keys

    def put(self, member: M, key: Key) -> None:
        """Add a member, or change the key of one that is in the queue."""
        if self._keys.get(member) != key:
            self._keys[member] = key
            heappush(self._heap, (key, member))
            self._sweep()

    def discard(self, member: M) -> None:
        """Take a member out, if it is in the queue."""
        if self._keys.pop(member, None) is not None:
            self._sweep()

    def first(self) -> tuple[Key, M] | None:
        """The lowest key and its member; None where the queue is empty."""
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
        """Drop stale entries once they outnumber the members: this costs O(1) for each entry ever
        made."""
        if len(self._heap) > 2 * len(self._keys) + 16:
            self._heap = [(key, member) for member, key in self._keys.items()]
            heapify(self._heap)


class WaitingRequests:
    """Requests that wait for the same constituent, or for anything at all: those that may share a
    run, and those that run alone."""

    def __init__(self) -> None:
        self._shared: PriorityQueue[str] = PriorityQueue()
        self._alone: PriorityQueue[str] = PriorityQueue()

    def __len__(self) -> int:
        return len(self._shared) + len(self._alone)

    def __contains__(self, request: str) -> bool:
        return request in self._shared or request in self._alone

    def put(self, request: str, key: Key, *, alone: bool) -> None:
        """Add a request, or change its key or whether it runs alone."""
        (self._shared if alone else self._alone).discard(request)
        (self._alone if alone else self._shared).put(request, key)

    def discard(self, request: str) -> None:
        """Take a request out, if it waits."""
        self._shared.discard(request)
        self._alone.discard(request)

    def first(self) -> tuple[Key, str] | None:
        """The key of the first request, and the request; None where none waits."""
        shared = self._shared.first()
        alone = self._alone.first() if self._alone else None
        return min(shared, alone) if shared and alone else shared or alone

    def group(self, *, coalesce: bool) -> list[str]:
        """The requests that the next run takes: the first one and, unless it runs alone, all others
        that may share."""
        first = self.first()
        if first is None:
            return []
        return self._shared.members() if coalesce and first[1] in self._shared else [first[1]]

    def joining(self) -> int:
        """How many requests would join a run under way: all that may share, unless a request that
        runs alone comes first."""
        first = self.first()
        return len(self._shared) if first and first[1] in self._shared else 0
