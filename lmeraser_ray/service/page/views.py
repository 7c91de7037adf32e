"""The views: today, requests, a request, a new one, the model, proof, places.

Each view that changes something answers with a redirection to what it changed, so that to load it
again repeats nothing.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Query, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException

from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY
from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.erasure.letter.letter import letter_of
from lmeraser_ray.erasure.queue.overview import overview_of
from lmeraser_ray.erasure.requests.request import MEANING, ErasureRequest, State
from lmeraser_ray.erasure.requests.search import RequestSearch
from lmeraser_ray.erasure.requests.submission import SubmissionNotes
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, LmeraserError
from lmeraser_ray.operations import requests as verbs
from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.operations.workspace import WITHDRAWN
from lmeraser_ray.service.access import Access, Caller
from lmeraser_ray.service.erasures import FORMS, RequestId, certificate, submitted, visible
from lmeraser_ray.service.page.rendering import rendered
from lmeraser_ray.service.page.visitor import (
    COOKIE,
    ENTRANCE,
    Auditing,
    Deciding,
    Looking,
    StrangerError,
    Submitting,
    require_own_form,
)
from lmeraser_ray.service.site import Served, Site
from lmeraser_ray.storage.times import utcnow

router = APIRouter(include_in_schema=False)
STATIC = {"style.css": "text/css", "htmx.min.js": "text/javascript"}
LISTED = 200
"""Requests on a page at most."""
CALENDAR_DAYS = 35
STEPS = (
    (State.RECEIVED, "received_at", "The request was committed. Its deadline runs from here."),
    (State.PLANNED, "planned_at", "The records were found. They cannot come into the data again."),
    (State.TRAINING, "training_at", "What was trained on them is trained again without them."),
    (State.PUBLISHED, "published_at", "Predictions come from the model without them."),
    (State.PURGED, "purged_at", "Every copy is gone, and a search found nothing of them."),
    (State.CERTIFIED, "closed_at", "The certificate is signed."),
)
"""The life of a request that is carried out: the state, the column of its moment, what was done."""
EMPTY = {"records": "", "subjects": "", "legal_basis": "", "identity": "", "quarantine": False}
"""The form of a new request before anything is typed."""
Text = Annotated[str, Form()]


def to(path: str) -> RedirectResponse:
    """Send a browser on."""
    return RedirectResponse(path, 303)


@router.get("/")
def home() -> RedirectResponse:
    """The first view."""
    return to("/today")


@router.get("/static/{name}")
def static(name: str) -> Response:
    """A file of the page's own."""
    if name not in STATIC:
        raise HTTPException(404, "There is no such file.")
    data = files("lmeraser_ray.service.page").joinpath("static", name).read_bytes()
    return Response(data, media_type=STATIC[name], headers={"Cache-Control": "max-age=3600"})


@router.get(ENTRANCE)
def entrance(request: Request) -> HTMLResponse:
    """Where a token is asked for."""
    return rendered(request, "login", None, wrong=None)


@router.post(ENTRANCE)
def enter(request: Request, token: Text = "") -> Response:
    """Keep a token that opens something in a cookie."""
    require_own_form(request)
    access: Access = request.app.state.access
    try:
        access.caller(token.strip())
    except HTTPException as error:
        return rendered(request, "login", None, status=error.status_code, wrong=error.detail)
    answer = to("/today")
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token.strip(), httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/logout")
def leave(request: Request) -> RedirectResponse:
    """Forget the token."""
    require_own_form(request)
    answer = to(ENTRANCE)
    answer.delete_cookie(COOKIE)
    return answer


def own(caller: Caller) -> str | None:
    """The submitter whose requests a caller sees only; None for all."""
    return caller.submitter if caller.role is Role.SUBMITTER else None


@router.get("/today")
def today(request: Request, site: Served, caller: Looking) -> HTMLResponse:
    """What is unanswered, the most urgent first, and the days of the deadlines."""
    unanswered = State.where(lambda state: not state.is_answered)
    asked = RequestSearch(unanswered, submitter=own(caller))
    found = verbs.search(site.session, asked)
    found.sort(key=lambda one: (one.state is not State.FAILED, one.deadline, one.id))
    now = utcnow()
    due = Counter(one.deadline.date() for one in found)
    days = [(now + timedelta(days=ahead)).date() for ahead in range(CALENDAR_DAYS)]
    overview = overview_of(site.session)
    return rendered(
        request,
        "today",
        caller,
        found=found[:LISTED],
        more=len(found) - len(found[:LISTED]),
        late=sum(one.deadline < now for one in found),
        failed=sum(one.state is State.FAILED for one in found),
        calendar=[(day, due[day]) for day in days],
        live=overview.live,
        training=len(overview.training),
        now=now,
    )


@router.get("/requests")
def listed(
    request: Request, site: Served, caller: Looking, state: Annotated[State | None, Query()] = None
) -> HTMLResponse:
    """The newest requests, of one state or of all."""
    asked = RequestSearch((state,) if state else (), submitter=own(caller))
    found = verbs.search(site.session, asked, limit=LISTED)
    return rendered(request, "requests", caller, found=found, chosen=state, most=LISTED)


@router.get("/requests/new")
def new(request: Request, caller: Submitting) -> HTMLResponse:
    """The form of a new request."""
    return rendered(request, "new", caller, wrong=None, sent=EMPTY, preview=None)


@router.post("/requests/new")
def make(
    request: Request,
    site: Served,
    caller: Submitting,
    records: Text = "",
    subjects: Text = "",
    legal_basis: Text = "",
    identity: Text = "",
    quarantine: Annotated[bool, Form()] = False,
    confirmed: Annotated[bool, Form()] = False,
    key: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Show what a request would do; commit it once that is confirmed."""
    sent = {
        "records": records,
        "subjects": subjects,
        "legal_basis": legal_basis,
        "identity": identity,
        "quarantine": quarantine,
    }
    try:
        targets = ErasureTargets(lines_of(records), lines_of(subjects))
        if not targets.records and not targets.subjects:
            raise ConfigError("Nobody is named: type the id of a record or of a person.")
        if not confirmed:
            preview = preview_of(site, caller, targets)
            return rendered(request, "new", caller, wrong=None, sent=sent, preview=preview)
        made = submitted(
            site,
            caller,
            targets,
            SubmissionNotes(legal_basis.strip() or None, identity.strip() or None),
            key=f"page {key}" if key else None,
            quarantine=quarantine,
        )
    except LmeraserError as error:
        wrong = str(error)
        return rendered(request, "new", caller, status=422, wrong=wrong, sent=sent, preview=None)
    return to(f"/requests/{made.id}")


def lines_of(text: str) -> list[str]:
    """The names of a text, one a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def preview_of(site: Site, caller: Caller, targets: ErasureTargets) -> dict[str, Any]:
    """What a request names and, for an operator, what it would cost: to others it would tell who is
    in the data."""
    found: dict[str, Any] = {
        "records": len(targets.records),
        "subjects": len(targets.subjects),
        "work": None,
        "unknown": None,
        "key": utcnow().strftime("%Y%m%d%H%M%S%f"),
    }
    if caller.role is Role.OPERATOR:
        from lmeraser_ray.operations.cost import cost, question_of  # loads SciPy

        question = question_of(targets.records, targets.subjects, False, False, (), ())
        try:
            found["work"] = cost(site.session, question).erasure
        except LmeraserError as error:
            found["unknown"] = str(error)
    return found


@router.get("/requests/{name}")
def shown(request: Request, site: Served, caller: Looking, name: RequestId) -> HTMLResponse:
    """A request's life, and what may be done about it."""
    return life_of(request, site, caller, name)


def life_of(
    request: Request, site: Site, caller: Caller, name: str, wrong: str | None = None
) -> HTMLResponse:
    """The view of a request. wrong: why what was asked of it was not done."""
    found = visible(name, site, caller)
    steps = [(state, moment_of(found, state, column), what) for state, column, what in STEPS]
    running = [run for run in overview_of(site.session).training if name in run.get("of", ())]
    page = rendered(
        request,
        "request",
        caller,
        status=409 if wrong else 200,
        found=found,
        steps=steps,
        meaning=MEANING[found.state],
        running=running,
        now=utcnow(),
        wrong=wrong,
    )
    if "hx-request" in request.headers and found.state.is_closed:
        page.headers["HX-Refresh"] = "true"  # other actions are left
    return page


def moment_of(found: ErasureRequest, state: State, column: str) -> datetime | None:
    """When a request came to a state of its life; None where it did not. A request that was given
    up is closed, too."""
    moment: datetime | None = getattr(found, column)
    return None if state is State.CERTIFIED and found.state is not state else moment


def decided(
    request: Request, site: Site, caller: Caller, name: str, by: Callable[[], object]
) -> Response:
    """Do what a form asks of a request, and show it again, with what was wrong."""
    visible(name, site, caller)
    try:
        by()
    except ConfigError as error:
        return life_of(request, site, caller, name, str(error))
    return to(f"/requests/{name}")


@router.post("/requests/{name}/cancel")
def cancel(request: Request, site: Served, caller: Submitting, name: RequestId) -> Response:
    """Withdraw a request."""
    by = partial(verbs.cancel, site.session, name, WITHDRAWN)
    return decided(request, site, caller, name, by)


@router.post("/requests/{name}/refuse")
def refuse(
    request: Request, site: Served, caller: Deciding, name: RequestId, reason: Text = ""
) -> Response:
    """Refuse a request."""
    by = partial(verbs.refuse, site.session, name, reason)
    return decided(request, site, caller, name, by)


@router.post("/requests/{name}/extend")
def extend(
    request: Request,
    site: Served,
    caller: Deciding,
    name: RequestId,
    reason: Text = "",
    months: Annotated[int, Form()] = 2,
) -> Response:
    """Put a deadline off."""
    by = partial(verbs.extend, site.session, name, months, reason)
    return decided(request, site, caller, name, by)


@router.post("/requests/{name}/retry")
def retry(request: Request, site: Served, caller: Deciding, name: RequestId) -> Response:
    """Try a failed request again."""
    return decided(request, site, caller, name, partial(verbs.retry, site.session, name))


@router.get("/requests/{name}/certificate/{form}")
def download(site: Served, caller: Looking, name: RequestId, form: str) -> Response:
    """A certificate, or its letter."""
    if form not in FORMS:
        raise HTTPException(404, "There is no such form of a certificate.")
    answer = certificate(visible(name, site, caller), site, form)  # type: ignore[arg-type]
    if form != "html":
        answer.headers["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    return answer


@router.get("/model")
def model(request: Request, site: Served, caller: Looking) -> HTMLResponse:
    """The published state."""
    state = site.session.folder.state()
    config = site.session.config()
    known_as = site.state_name(state.answering.fingerprint) if state else ""
    return rendered(request, "model", caller, state=state, known_as=known_as, config=config)


@router.get("/proof")
def proof(request: Request, site: Served, caller: Looking) -> HTMLResponse:
    """Where a certificate is checked."""
    keys = sorted(site.public_keys)
    return rendered(request, "proof", caller, keys=keys, letter=None, wrong=None)


@router.post("/proof")
async def check(
    request: Request, site: Served, caller: Looking, certificate: UploadFile
) -> HTMLResponse:
    """Check a certificate that somebody has."""
    letter, wrong = None, None
    try:
        letter = letter_of(check_certificate(await certificate.read(), site.public_keys))
    except LmeraserError as error:
        wrong = str(error)
    keys = sorted(site.public_keys)
    return rendered(request, "proof", caller, keys=keys, letter=letter, wrong=wrong)


@router.get("/places")
def places(request: Request, caller: Auditing) -> HTMLResponse:
    """Where private data rests, and what is searched."""
    return rendered(request, "places", caller, places=DATA_INVENTORY)


def add_page(app: FastAPI) -> None:
    """Give an application its page."""

    def to_entrance(_: Request, __: Exception) -> RedirectResponse:
        return to(ENTRANCE)

    app.add_exception_handler(StrangerError, to_entrance)
    app.include_router(router)
