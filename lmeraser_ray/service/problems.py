"""Errors as problem details, JSON that says what was found and what to do.

    ConfigError, DataError  422, or what the route says (404, 409)
    ExecutionError          503, with Retry-After: the machine and not the request
    VerificationError       503: the workspace is damaged; nothing wrong is answered
    a defect                500; the log says where it is

A browser gets a page instead.

Source: RFC 9457.
"""

import traceback
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from lmeraser_ray.errors import ExecutionError, LmeraserError, VerificationError
from lmeraser_ray.pipeline.outlet import print_line

MEDIA = "application/problem+json"
FRAMES = 5
"""Places in the program that the log names of a defect."""
RETRY_S = "5"
"""Seconds after which a caller may try again what the machine refused."""


ErrorPage = Callable[[Request, int, str, str], Response]
"""Shows a status, its title and a sentence."""


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    title: str
    status: int
    detail: str


STANDARD: dict[int | str, dict[str, Any]] = {
    code: {
        "description": HTTPStatus(code).phrase,
        "content": {MEDIA: {"schema": Problem.model_json_schema()}},
    }
    for code in (400, 401, 403, 404, 409, 413, 422, 429, 503)
}
"""The errors of a route, for its description."""


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error as an answer."""
    said = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(said.model_dump(), status, headers, MEDIA)


def told(
    request: Request, status: int, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """Return an error as a browser or a program reads it."""
    if "text/html" not in request.headers.get("accept", ""):
        return problem(status, detail, headers)
    page: ErrorPage = request.app.state.error_page
    answer = page(request, status, HTTPStatus(status).phrase, detail)
    answer.headers.update(headers or {})
    return answer


def add_problems(app: FastAPI, page: ErrorPage) -> None:
    """Have an application answer every error as a problem. page: for browsers."""
    app.state.error_page = page

    def of_ours(request: Request, error: Exception) -> Response:
        if isinstance(error, ExecutionError | VerificationError):
            return told(request, 503, str(error), {"Retry-After": RETRY_S})
        return told(request, 422, str(error))

    def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        return told(request, error.status_code, str(error.detail), dict(error.headers or {}))

    def of_validation(request: Request, error: Exception) -> Response:
        """Names the field and never its value, which may be somebody's id."""
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"] if part != "body")
        return told(request, 422, f"{where or 'the body'}: {found['msg']}.")

    def of_defect(request: Request, error: Exception) -> Response:
        """Says where it is, and nothing of what it is about: a message may name somebody."""
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
        where = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
        print_line(f"lmeraser: a defect, {type(error).__name__} at {where}")
        return told(request, 500, "The service has a defect. Its log says where.")

    app.add_exception_handler(LmeraserError, of_ours)
    app.add_exception_handler(Exception, of_defect)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_validation)
