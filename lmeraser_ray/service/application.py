"""The application: the routes of one workspace, with what every answer has.

    request → body within its limit → token → route → answer with the headers that browsers obey

Errors of ours are answers (`problems`); a defect is a 500 without a word of it.
"""

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmeraser_ray import __version__
from lmeraser_ray.service import erasures, inference
from lmeraser_ray.service.access import Access
from lmeraser_ray.service.problems import add_problems, problem
from lmeraser_ray.service.site import Site

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What browsers are told: keep nothing, load nothing, embed nothing."""


class TooLongError(Exception):
    """A body is longer than it may be."""


class Guard:
    """Refuses bodies of more than `most` bytes, and adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        count, begun = 0, False

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._most:
                raise TooLongError
            return message

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                there = {name.lower() for name, _ in message["headers"]}
                message["headers"] += [
                    (name.lower().encode(), text.encode())
                    for name, text in HEADERS.items()
                    if name.lower().encode() not in there
                ]
            await send(message)

        try:
            await self._app(scope, counted, guarded)
        except TooLongError:
            if begun:
                raise
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
    add_problems(app)
    app.include_router(inference.router)
    app.include_router(erasures.router)
    return app
