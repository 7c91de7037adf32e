"""Who trains a constituent that several trials of a sweep need: an actor that gives each key to the
first who asks for it.

Invariant: a key is given to one living trial at a time, while the actor lives. The store takes two
trainings of one key too: claims only spare the work, and their loss costs no more than that.
Nothing that starts slowly is imported here: the actor is there before the first trial.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray


class ClaimsActor:
    """Who trains which constituent. An actor; its methods wait without holding each other up."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._made: set[str] = set()
        self._changed = asyncio.Condition()

    async def next(self, trial: str, keys: Sequence[str]) -> tuple[str, bool]:
        """The first of the keys that is in the store now (False) or that nobody trains (True);
        waits for one where all are in work."""
        async with self._changed:
            while True:
                for key in keys:
                    if key in self._made:
                        return key, False
                    if self._owners.setdefault(key, trial) == trial:
                        return key, True
                await self._changed.wait()

    async def made(self, key: str) -> None:
        """A key is in the store."""
        async with self._changed:
            self._made.add(key)
            self._changed.notify_all()

    async def release(self, trial: str) -> None:
        """A trial has ended: what it claimed and did not train is for others."""
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
