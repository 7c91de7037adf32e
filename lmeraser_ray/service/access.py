"""Who may do what: bearer tokens, their roles, and how often each may ask.

Invariants: a token is looked up at each request; what a caller may not see does not exist for them
(404, as what is not there).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pyrate_limiter import InMemoryBucket, Limiter, Rate
from starlette.exceptions import HTTPException

from lmeraser_ray.operations.tokens import Role, token_for
from lmeraser_ray.service.site import Site
from lmeraser_ray.storage.times import utcnow

SECOND_MS = 1000
BEARER = HTTPBearer(auto_error=False, description="a token that `lmeraser tokens make` printed")
CHALLENGE = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request."""

    token: str
    role: Role

    @property
    def submitter(self) -> str:
        """The name that their erasure requests are kept under, hashed."""
        return f"token {self.token}"


class Access:
    """Recognises callers, and counts what each asks."""

    def __init__(self, site: Site, rate: int) -> None:
        self._site, self._rate = site, rate
        self._limiters: dict[str, Limiter] = {}

    def caller(self, text: str) -> Caller:
        """Return whose token this is. Errors: `HTTPException` 401, 429."""
        with self._site.session.database() as database, database.read() as connection:
            found = token_for(connection, text, utcnow())
        if found is None:
            raise HTTPException(401, "The token opens nothing here: use another.", CHALLENGE)
        limiter = self._limiters.get(found.id)
        if limiter is None:  # of two first requests at once, both count in one
            made = Limiter(InMemoryBucket([Rate(self._rate, SECOND_MS)]))
            limiter = self._limiters.setdefault(found.id, made)
        if not limiter.try_acquire(found.id, blocking=False):
            said = f"This token may ask {self._rate} times a second: wait."
            raise HTTPException(429, said, {"Retry-After": "1"})
        return Caller(found.id, found.role)


def allowed(*roles: Role) -> Callable[..., Caller]:
    """Return what a route depends on, so that only these roles, and operators, call it. Errors:
    `HTTPException` 401 without a token, 403 with one of another role."""

    def require(
        request: Request, sent: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
    ) -> Caller:
        if sent is None:
            raise HTTPException(401, "Send a token: `Authorization: Bearer lme-…`.", CHALLENGE)
        access: Access = request.app.state.access
        return in_role(access.caller(sent.credentials), roles)

    return require


def in_role(caller: Caller, roles: Sequence[Role]) -> Caller:
    """Return a caller of one of these roles, or an operator. Errors: `HTTPException` 403."""
    if caller.role not in (*roles, Role.OPERATOR):
        raise HTTPException(403, f"A token of the role {caller.role} may not do this.")
    return caller
