"""What the routes share: a workspace, whoever answers pictures, and the keys that certificates are
checked with."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import Depends, Request

from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.service.predictor import Outcome
from lmeraser_ray.storage.database.ledger import Seal

Answerer = Callable[[Sequence[bytes]], Awaitable[Sequence[Outcome]]]
"""Answers encoded pictures, each by itself, all by one published state."""


@dataclass(frozen=True)
class Site:
    """One served workspace. answer: predicts; public_keys: by id."""

    session: Session
    answer: Answerer
    public_keys: Mapping[str, Ed25519PublicKey] = field(default_factory=dict)

    def state_name(self, fingerprint: str) -> str:
        """How callers know a state: the keyed hash of its fingerprint, by which certificates name
        it. The fingerprint itself tells who was there to whoever can guess."""
        return Seal(self.session.names()).state(fingerprint)


def site_of(request: Request) -> Site:
    """The workspace that an application serves."""
    found: Site = request.app.state.site
    return found


Served = Annotated[Site, Depends(site_of)]
"""The workspace, as a route takes it."""
