"""Who looks at the page: a browser that holds a token in a cookie.

Invariants: the cookie is sent by no other site and read by no script; a form is taken only from a
page of this service; a token that opens nothing any more leads to the entrance.
"""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.service.access import Access, Caller, in_role

COOKIE = "lmeraser"
ENTRANCE = "/login"
SEEING = (Role.SUBMITTER, Role.AUDITOR, Role.OPERATOR)


class StrangerError(Exception):
    """A browser without a token that opens anything."""


def visitor(request: Request) -> Caller:
    """Whose browser it is. Errors: `StrangerError`; `HTTPException` 403 for a role that has no
    page, and for a form of another site, 429."""
    if request.method != "GET":
        require_own_form(request)
    access: Access = request.app.state.access
    try:
        found = access.caller(request.cookies.get(COOKIE, ""))
    except HTTPException as error:
        if error.status_code == 401:
            raise StrangerError from error
        raise
    if found.role not in SEEING:
        raise HTTPException(403, f"A token of the role {found.role} has no page.")
    return found


def require_own_form(request: Request) -> None:
    """Errors: `HTTPException` 403 where a form was not sent by a page of this service."""
    sent = request.headers.get("origin") or request.headers.get("referer") or ""
    if urlsplit(sent).netloc != request.headers.get("host"):
        raise HTTPException(403, "This form was not sent from a page of this service.")


def visitor_of(*roles: Role) -> Callable[..., Caller]:
    """Return what a view depends on that only these roles, and operators, may call. Errors: as
    `visitor`, and `HTTPException` 403 for other roles."""

    def require(found: Annotated[Caller, Depends(visitor)]) -> Caller:
        return in_role(found, roles)

    return require


Looking = Annotated[Caller, Depends(visitor)]
Submitting = Annotated[Caller, Depends(visitor_of(Role.SUBMITTER))]
Deciding = Annotated[Caller, Depends(visitor_of())]
Auditing = Annotated[Caller, Depends(visitor_of(Role.AUDITOR))]
