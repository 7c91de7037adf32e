"""The application: the routes of one workspace, with what every answer has.

    request → body within its limit → token → route → answer with the headers that browsers obey

Errors of ours are answers (`problems`); a defect is a 500 without a word of it.
"""

from contextlib import suppress

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmeraser_ray import __version__
from lmeraser_ray.service import erasures, inference
from lmeraser_ray.service.access import Access
from lmeraser_ray.service.page.rendering import error_page
from lmeraser_ray.service.page.views import add_page
from lmeraser_ray.service.problems import add_problems, problem
from lmeraser_ray.service.site import Site

HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
"""What browsers are told: keep nothing, load nothing, embed nothing."""


class TooLongError(Exception):
    """A body is longer than it may be."""


class Guard:
    """Refuses bodies of more than `most` bytes, and adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        too_long = announced.isdigit() and int(announced) > self._most
        begun, count = False, 0

        async def counted() -> Message:
            nonlocal count, too_long
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._most:
                too_long = True
                raise TooLongError
            return message

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                names = {name for name, _ in message["headers"]}
                message["headers"] += [pair for pair in HEADERS if pair[0] not in names]
            await send(message)

        async def unless_too_long(message: Message) -> None:
            if begun or not too_long:  # else the application took the body for a broken one
                await guarded(message)

        with suppress(TooLongError):
            if not too_long:
                await self._app(scope, counted, unless_too_long)
        if too_long and not begun:
            said = f"The body is longer than {self._most:,} bytes (serve.body_mib): send less."
            await problem(413, said)(scope, receive, guarded)


def create_app(site: Site) -> FastAPI:
    """Return the application of one workspace. Errors: those of its configuration."""
    config = site.session.config().serve
    app = FastAPI(
        title="lmeraser",
        version=__version__,
        description="Predictions of a model that forgets, and the requests to forget.",
        docs_url=None,  # its pages load scripts of other hosts
        redoc_url=None,
        middleware=[Middleware(Guard, most=config.body_mib << 20)],
    )
    app.state.site, app.state.access = site, Access(site, config.rate)
    add_problems(app, error_page)
    app.include_router(inference.router)
    app.include_router(erasures.router)
    add_page(app)
    return app
