"""What the routes of erasure requests take and give, as JSON.

Invariant: no answer names a record or a subject.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lmeraser_ray.erasure.requests.request import ErasureRequest, State

Name = Annotated[str, Field(min_length=1, max_length=1024)]
Sentence = Annotated[str, Field(min_length=1, max_length=1000)]
MOST_NAMES = 100_000


class Body(BaseModel):
    """A body that has no other fields than these."""

    model_config = ConfigDict(extra="forbid")


class Erasure(Body):
    """Whom to forget: records by their ids, and persons (subjects) with all their records."""

    records: Annotated[list[Name], Field(max_length=MOST_NAMES)] = []
    subjects: Annotated[list[Name], Field(max_length=MOST_NAMES)] = []
    due: datetime | None = None
    """An earlier deadline than the month of the law, with its offset."""
    quarantine: bool = False
    """What was trained on them stops answering before this is answered."""
    legal_basis: Sentence | None = None
    identity: Sentence | None = None
    """How it was checked who asks."""

    @field_validator("due")
    @classmethod
    def _with_offset(cls, due: datetime | None) -> datetime | None:
        if due is not None and due.utcoffset() is None:
            raise ValueError("give the moment with its offset, such as 2026-12-24T12:00:00Z")
        return due

    @model_validator(mode="after")
    def _names_somebody(self) -> "Erasure":
        if not self.records and not self.subjects:
            raise ValueError("nothing to erase is named: give records or subjects")
        return self


class Reason(Body):
    """Why, in a sentence without ids; it stays with the request."""

    reason: Sentence


class Extension(Reason):
    """A later deadline: by one or two months."""

    months: Literal[1, 2] = 2


class RequestDeadline(BaseModel):
    """When it was received, by when it is to be answered, and how much of that time is over, in
    percent (50, 80, 95, 100)."""

    received: datetime
    due: datetime
    extended: datetime | None
    reason: str | None
    alert: int | None


class ErasureFinding(BaseModel):
    """Something of the erased that the absence scan found."""

    model_config = ConfigDict(extra="allow")


class ErasureState(BaseModel):
    """How a request stands. targets: how many were removed, erased before, unknown, or are open."""

    request: str
    state: State
    standing: str
    deadline: RequestDeadline
    reason: str | None
    legal_basis: str | None
    identity: str | None
    findings: list[ErasureFinding]
    exceptions: list[ErasureFinding]
    targets: dict[str, int]


class ErasurePage(BaseModel):
    """Some requests, the newest first. next: what `before` is for the following page."""

    erasures: list[ErasureState]
    next: datetime | None


class Happening(BaseModel):
    """Something that happened to a request."""

    at: datetime
    event: str


class Verified(BaseModel):
    """Whether a certificate is what its key signed; problem: what does not hold."""

    verified: bool
    key: str | None = None
    sha256: str | None = None
    problem: str | None = None


def state_of(found: ErasureRequest) -> ErasureState:
    """Return a request as the routes show it."""
    return ErasureState.model_validate({**found.as_json(), "standing": found.standing})
