"""The routes of erasure requests: `/erasures`.

    submitter   submits, withdraws, and sees what its own token submitted
    auditor     sees all
    operator    does all of that, and refuses, extends, retries

Invariants: no answer names a record or a subject; a request is durable when its answer is sent;
sent again with the same `Idempotency-Key`, it is the same request.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.exceptions import HTTPException

from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.erasure.letter.letter import letter_of
from lmeraser_ray.erasure.letter.letter_html import html_of
from lmeraser_ray.erasure.letter.letter_pdf import pdf_of
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.search import RequestSearch
from lmeraser_ray.erasure.requests.submission import SubmissionNotes
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, DataError, VerificationError
from lmeraser_ray.operations import requests as verbs
from lmeraser_ray.operations.certificate import envelope_of
from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.operations.workspace import WITHDRAWN
from lmeraser_ray.service.access import Caller, allowed
from lmeraser_ray.service.erasure_bodies import (
    Erasure,
    ErasurePage,
    ErasureState,
    Extension,
    Happening,
    Reason,
    Verified,
    state_of,
)
from lmeraser_ray.service.problems import STANDARD
from lmeraser_ray.service.site import Served, Site
from lmeraser_ray.storage.times import from_text

FORMS = {"json": "application/json", "html": "text/html", "pdf": "application/pdf"}
"""Of a certificate: as it was signed, or as a letter for the person."""
router = APIRouter(prefix="/erasures", tags=["erasures"], responses=STANDARD)
RequestId = Annotated[str, Path(pattern="^er-[0-9]{8}-[0-9a-f]{16}$")]
Seeing = Annotated[Caller, Depends(allowed(Role.SUBMITTER, Role.AUDITOR))]
Submitting = Annotated[Caller, Depends(allowed(Role.SUBMITTER))]
Deciding = Annotated[Caller, Depends(allowed())]


@router.post("", status_code=201, operation_id="submit_erasure")
def submit_erasure(
    asked: Erasure,
    site: Served,
    caller: Submitting,
    request: Request,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=256)] = None,
) -> ErasureState:
    """Commit an erasure request; it is durable when this is answered."""
    made = submitted(
        site,
        caller,
        ErasureTargets(asked.records, asked.subjects),
        SubmissionNotes(asked.legal_basis, asked.identity),
        key=idempotency_key,
        due=asked.due,
        quarantine=asked.quarantine,
    )
    response.headers["Location"] = f"{request.url.path}/{made.id}"
    return state_of(made)


def submitted(
    site: Site,
    caller: Caller,
    targets: ErasureTargets,
    notes: SubmissionNotes,
    *,
    key: str | None,
    quarantine: bool,
    due: datetime | None = None,
) -> ErasureRequest:
    """Commit a caller's request. key: of the caller's own. Errors: those of `requests.submit`; to
    any but an operator a `DataError` does not say whether a name that looks like it is held."""
    try:
        return verbs.submit(
            site.session,
            targets,
            key=None if key is None else f"{caller.token} {key}",
            due=due,
            submitter=caller.submitter,
            quarantine=quarantine,
            notes=notes,
        )
    except DataError as error:
        if caller.role is Role.OPERATOR:
            raise
        raise DataError("A name cannot be one of a record or a person.") from error


@router.get("", operation_id="list_erasures")
def list_erasures(
    site: Served,
    caller: Seeing,
    state: Annotated[list[State], Query()] = [],  # noqa: B006 - FastAPI copies it
    due: datetime | None = None,
    since: datetime | None = None,
    before: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> ErasurePage:
    """List requests, the newest first: in these states, due until a moment, received since one and
    before another."""
    own = caller.submitter if caller.role is Role.SUBMITTER else None
    asked = RequestSearch(tuple(state), submitter=own, due=due, since=since, until=before)
    found = verbs.search(site.session, asked, limit=limit)
    last = found[-1].received_at if len(found) == limit else None
    return ErasurePage(erasures=[state_of(one) for one in found], next=last)


def visible(request: RequestId, site: Served, caller: Seeing) -> ErasureRequest:
    """The request that a path names. Errors: `HTTPException` 404 where there is none, or it is
    another submitter's."""
    try:
        found = verbs.status(site.session, request)
    except DataError as error:
        raise HTTPException(404, str(error)) from error
    mine = site.session.names().hashes("submitter", caller.submitter)
    if caller.role is Role.SUBMITTER and found.submitter not in mine:
        raise HTTPException(404, f"There is no erasure request {request!r} here.")
    return found


Visible = Annotated[ErasureRequest, Depends(visible)]


@router.get("/{request}", operation_id="erasure")
def erasure(found: Visible) -> ErasureState:
    """How a request stands."""
    return state_of(found)


@router.get("/{request}/history", operation_id="erasure_history")
def erasure_history(found: Visible, site: Served) -> list[Happening]:
    """What happened to a request, in order."""
    return [
        Happening(at=from_text(one.at), event=one.what)
        for one in verbs.history(site.session, found.id)
    ]


def decided(by: Callable[[], ErasureRequest]) -> ErasureState:
    """What became of a request. Errors: `HTTPException` 409 where its state does not allow it."""
    try:
        return state_of(by())
    except ConfigError as error:
        raise HTTPException(409, str(error)) from error


@router.delete("/{request}", operation_id="cancel_erasure")
def cancel_erasure(found: Visible, site: Served, _: Submitting) -> ErasureState:
    """Withdraw a request that no queue has begun."""
    return decided(lambda: verbs.cancel(site.session, found.id, WITHDRAWN))


@router.post("/{request}/refuse", operation_id="refuse_erasure")
def refuse_erasure(found: Visible, why: Reason, site: Served, _: Deciding) -> ErasureState:
    """Refuse a request: a legal hold."""
    return decided(lambda: verbs.refuse(site.session, found.id, why.reason))


@router.post("/{request}/extend", operation_id="extend_erasure")
def extend_erasure(found: Visible, why: Extension, site: Served, _: Deciding) -> ErasureState:
    """Put the deadline off, once."""
    return decided(lambda: verbs.extend(site.session, found.id, why.months, why.reason))


@router.post("/{request}/retry", operation_id="retry_erasure")
def retry_erasure(found: Visible, site: Served, _: Deciding) -> ErasureState:
    """Have a failed request tried again."""
    return decided(lambda: verbs.retry(site.session, found.id))


def envelope(site: Site, request: ErasureRequest) -> bytes:
    """The signed certificate of a request. Errors: `HTTPException` 409 where there is none yet."""
    with site.session.database() as database:
        try:
            return envelope_of(database, request.id)
        except DataError as error:
            raise HTTPException(409, str(error)) from error


@router.get(
    "/{request}/certificate",
    operation_id="certificate",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in FORMS.values()}}},
)
def certificate(
    found: Visible,
    site: Served,
    form: Annotated[Literal["json", "html", "pdf"], Query(alias="format")] = "json",
) -> Response:
    """The signed certificate, byte for byte, or as a letter for the person."""
    signed = envelope(site, found)
    if form == "json":
        return Response(signed, media_type=FORMS[form])
    letter = letter_of(check_certificate(signed, site.public_keys))
    if form == "html":
        style = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return Response(html_of(letter), headers=style, media_type=FORMS[form])
    return Response(pdf_of(letter), media_type=FORMS[form])


@router.get("/{request}/verification", operation_id="verification")
def verification(found: Visible, site: Served) -> Verified:
    """Whether the certificate is what its key signed."""
    try:
        signed = check_certificate(envelope(site, found), site.public_keys)
    except VerificationError as error:
        return Verified(verified=False, problem=str(error))
    return Verified(verified=True, key=signed.keyid, sha256=signed.sha256)
