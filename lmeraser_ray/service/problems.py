"""Errors as problem details, JSON that says what was found and what to do.

    ConfigError, DataError  422, or what the route says (404, 409)
    ExecutionError          503, with Retry-After: the machine and not the request
    VerificationError       503: the workspace is damaged; nothing wrong is answered

Source: RFC 9457.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from lmeraser_ray.errors import ExecutionError, LmeraserError, VerificationError

MEDIA = "application/problem+json"
RETRY_S = "5"
"""Seconds after which a caller may try again what the machine refused."""


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


def add_problems(app: FastAPI) -> None:
    """Have an application answer every error as a problem."""

    def of_ours(_: Request, error: Exception) -> JSONResponse:
        if isinstance(error, ExecutionError | VerificationError):
            return problem(503, str(error), {"Retry-After": RETRY_S})
        return problem(422, str(error))

    def of_http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))

    def of_validation(_: Request, error: Exception) -> JSONResponse:
        """Names the field and never its value, which may be somebody's id."""
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"] if part != "body")
        return problem(422, f"{where or 'the body'}: {found['msg']}.")

    app.add_exception_handler(LmeraserError, of_ours)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_validation)
