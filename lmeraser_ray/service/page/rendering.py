"""Templates as answers, and how they show moments and states."""

from datetime import datetime
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from lmeraser_ray import __version__
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.service.access import Caller

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""A page loads nothing of others, and runs no script within it."""
DAY_S = 86_400


def shown(moment: datetime | None) -> str:
    """A moment for people, in UTC."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def left(deadline: datetime, now: datetime) -> str:
    """How long until a deadline."""
    days = int((deadline - now).total_seconds() // DAY_S)
    if days < 0:
        return f"{-days} {'day' if days == -1 else 'days'} late"
    return "today" if days == 0 else f"{days} {'day' if days == 1 else 'days'} left"


TEMPLATES = Environment(
    loader=PackageLoader("lmeraser_ray.service.page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["shown"] = shown
TEMPLATES.globals.update(left=left, State=State, Role=Role, version=__version__)


def rendered(
    request: Request, name: str, caller: Caller | None, *, status: int = 200, **more: Any
) -> HTMLResponse:
    """Return a view. name: of its template; caller: who looks, None for a stranger."""
    page = TEMPLATES.get_template(f"{name}.html")
    text = page.render(path=request.url.path, caller=caller, **more)
    return HTMLResponse(text, status, {"Content-Security-Policy": POLICY})


def error_page(request: Request, status: int, title: str, detail: str) -> HTMLResponse:
    """Return what a browser shows of an error."""
    return rendered(request, "wrong", None, status=status, title=title, detail=detail)
