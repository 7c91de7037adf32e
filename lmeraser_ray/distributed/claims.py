"""Claims: an actor gives each constituent that several trials of a sweep need to the first trial
that asks for it.

Invariant: while the actor lives, a key is given to one living trial at a time. Two trainings of one
key do no harm in the store: claims only save work, and their loss costs no more than that. This
module imports nothing that starts slowly: the actor starts before the first trial.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray


class ClaimsActor:
    """Knows which trial trains which constituent. An actor whose methods wait side by side."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._made: set[str] = set()
        self._changed = asyncio.Condition()

    async def next(self, trial: str, keys: Sequence[str]) -> tuple[str, bool]:
        """Return the first of the keys that is in the store (False) or that no trial trains (True);
        waits while other trials train all of them."""
        async with self._changed:
            while True:
                for key in keys:
                    if key in self._made:
                        return key, False
                    if self._owners.setdefault(key, trial) == trial:
                        return key, True
                await self._changed.wait()

    async def made(self, key: str) -> None:
        """Note that a key is in the store."""
        async with self._changed:
            self._made.add(key)
            self._changed.notify_all()

    async def release(self, trial: str) -> None:
        """Give up the claims of a trial that has ended on what it has not trained."""
        async with self._changed:
            self._owners = {
                key: owner
                for key, owner in self._owners.items()
                if owner != trial or key in self._made
            }
            self._changed.notify_all()


@dataclass(frozen=True)
class Claimant:
    """A trial's side of the claims."""

    actor: Any
    trial: str

    def next(self, keys: Sequence[str]) -> tuple[str, bool]:
        """As `ClaimsActor.next`."""
        found: tuple[str, bool] = ray.get(self.actor.next.remote(self.trial, list(keys)))
        return found

    def made(self, key: str) -> None:
        """As `ClaimsActor.made`, and done when this returns."""
        ray.get(self.actor.made.remote(key))
