"""What every answer has, and what no body can do."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import positive_data_acceptance

from lmeraser_ray.operations.tokens import Role
from tests.support.served_workspace import ServedWorkspace, serve_workspace
from tests.support.world import World

HEADERS = ("cache-control", "content-security-policy", "x-content-type-options", "x-frame-options")


def test_every_answer_tells_browsers_to_keep_and_load_nothing(served: ServedWorkspace) -> None:
    for path in ("/v2/health/live", "/erasures", "/nothing", "/openapi.json"):
        headers = served.ask("GET", path).headers
        assert all(name in headers for name in HEADERS), path
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", ["/predict", "/erasures", "/v2/models/lmeraser/infer"])
def test_a_body_that_is_too_long_is_refused(
    place: tuple[World, Path, Path], path: str, streamed: bool
) -> None:
    """Whether its length is announced or not, and whatever it is taken for."""
    served = serve_workspace(*place, body_mib="1")

    def pieces() -> Iterator[bytes]:
        yield b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n"
        yield from (bytes(1 << 16) for _ in range(17))
        yield b"\r\n--b--\r\n"

    body = pieces() if streamed else b"".join(pieces())
    kind = "multipart/form-data; boundary=b" if path == "/predict" else "application/json"
    answer = served.ask("POST", path, content=body, headers={"Content-Type": kind})
    assert answer.status_code == 413, answer.text
    assert "serve.body_mib" in answer.json()["detail"]
    assert "x-frame-options" in answer.headers


def test_what_is_not_there_is_a_problem_too(served: ServedWorkspace) -> None:
    for method, path, status in (("GET", "/no", 404), ("PUT", "/erasures", 405)):
        answer = served.ask(method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_defect_is_told_without_a_word_of_what_it_is_about(
    served: ServedWorkspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A message may name somebody; where it is, the log says."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("person-1")

    monkeypatch.setattr("lmeraser_ray.service.erasures.verbs.search", fail)
    client = TestClient(served.client.app, raise_server_exceptions=False)
    headers = {"Authorization": f"Bearer {served.tokens[Role.OPERATOR]}"}
    answer = client.get("/erasures", headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (500, "Internal Server Error")
    said = capfd.readouterr().err
    assert "a defect, RuntimeError at" in said and "erasures.py:" in said
    assert "person-1" not in answer.text + said


@pytest.mark.thorough
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_what_is_generated_from_the_description_is_answered_as_described(
    served: ServedWorkspace, mode: schemathesis.GenerationMode
) -> None:
    """Bodies, paths and headers that fit the OpenAPI description, and some that do not: no defect,
    and each answer has a described status and form."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", served.client.app)
    headers = {"Authorization": f"Bearer {served.tokens[Role.OPERATOR]}"}
    tried = 0
    for found in schema.get_all_operations():
        try_operation(found.ok(), mode, headers)
        tried += 1
    assert tried > 15


def try_operation(
    operation: schemathesis.APIOperation, mode: schemathesis.GenerationMode, headers: dict[str, str]
) -> None:
    """Try one route with some examples. Of a route that takes nothing, none is wrong. A description
    does not say all: that shape and data of a tensor fit, that a picture decodes."""

    @settings(
        max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=mode))
    def try_case(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    with suppress(Unsatisfiable):
        try_case()
