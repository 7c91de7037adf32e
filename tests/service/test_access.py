"""Who may call what: every route, every role."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from pyrate_limiter import InMemoryBucket, MonotonicClock, Rate

from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.service import access
from lmeraser_ray.storage.times import utcnow
from tests.support.served_workspace import ServedWorkspace, serve_workspace
from tests.support.world import World, picture

OPEN = {"/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/lmeraser/ready"}
PREDICTING = {
    "/v2/models/lmeraser",
    "/v2/models/lmeraser/versions/{version}",
    "/v2/models/lmeraser/infer",
    "/predict",
}
DECIDING = re.compile("/erasures/{request}/(refuse|extend|retry)")


def expected(method: str, path: str) -> set[Role]:
    """The roles that may call a route."""
    if path in PREDICTING:
        return {Role.PREDICTOR, Role.OPERATOR}
    if DECIDING.fullmatch(path):
        return {Role.OPERATOR}
    changes = method in ("post", "delete")
    return {Role.SUBMITTER, Role.OPERATOR} | (set() if changes else {Role.AUDITOR})


def test_each_route_is_for_its_roles_only(served: ServedWorkspace) -> None:
    """The list of routes is the application's own description, so a new one must be here."""
    known = served.submit(records=[served.world.ids[0]])
    spec = served.client.get("/openapi.json").json()
    seen = 0
    for path, methods in spec["paths"].items():
        for method in methods:
            url = path.replace("{request}", known).replace("{version}", "0" * 64)
            without = served.ask(method, url, None)
            if path in OPEN:
                assert without.status_code == 200
                continue
            assert without.status_code == 401 and without.headers["www-authenticate"] == "Bearer"
            wrong = served.client.request(
                method, url, headers={"Authorization": f"Bearer lme-{'0' * 12}-{'0' * 64}"}
            )
            assert wrong.status_code == 401
            for role in Role:
                status = served.ask(method, url, role).status_code
                if role in expected(method, path):
                    # 404: a submitter's view of another's request
                    assert status not in (401, 403, 500), (method, path, role, status)
                else:
                    assert status in (403, 404), (method, path, role, status)
                seen += 1
    assert seen >= 4 * 12


def test_a_revoked_token_ends_at_once_and_a_late_one_is_refused(served: ServedWorkspace) -> None:
    text = served.workspace.tokens("make", role="auditor", days=2).bearer
    headers = {"Authorization": f"Bearer {text}"}
    assert served.client.get("/erasures", headers=headers).status_code == 200
    with time_machine.travel(utcnow() + timedelta(days=2, seconds=1)):
        assert served.client.get("/erasures", headers=headers).status_code == 401
    served.workspace.tokens("revoke", token=text)
    assert served.client.get("/erasures", headers=headers).status_code == 401
    assert [one.revoked for one in served.workspace.tokens().tokens].count(None) == len(Role)


@pytest.mark.parametrize(
    "text", ["", "lme-", "Basic abc", "lme-zzzzzzzzzzzz-0", "lme-" + "0" * 100, "lme-\u0660"]
)
def test_what_is_no_token_opens_nothing(served: ServedWorkspace, text: str) -> None:
    answer = served.client.get("/erasures", headers={"Authorization": f"Bearer {text}".encode()})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_secret_of_a_token_is_in_no_file(served: ServedWorkspace) -> None:
    secret = served.tokens[Role.OPERATOR].rpartition("-")[2].encode()
    files = [path for path in Path(served.workspace.session.root).rglob("*") if path.is_file()]
    assert files and not any(secret in path.read_bytes() for path in files)


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second that does not pass."""
    monkeypatch.setattr(MonotonicClock, "now", lambda _: 1000)


@pytest.mark.usefixtures("moment")
def test_a_token_that_asks_too_often_waits(place: tuple[World, Path, Path]) -> None:
    """And no other has to."""
    served = serve_workspace(*place, rate="3")
    answers = [served.ask("GET", "/erasures") for _ in range(12)]
    assert [one.status_code for one in answers] == [200] * 3 + [429] * 9
    assert answers[3].headers["retry-after"] == "1"
    assert served.ask("GET", "/erasures", Role.AUDITOR).status_code == 200


@pytest.mark.usefixtures("moment")
def test_two_first_requests_at_once_are_two(
    place: tuple[World, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve_workspace(*place, rate="1")
    both = threading.Barrier(2, timeout=60)

    class Slow(InMemoryBucket):
        def __init__(self, rates: list[Rate]) -> None:
            both.wait()
            super().__init__(rates)

    def ask(_: int) -> int:
        return served.ask("GET", "/erasures", Role.AUDITOR).status_code

    monkeypatch.setattr(access, "InMemoryBucket", Slow)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(ask, range(2))) == [200, 429]


def test_a_submitter_sees_its_own_requests_only(served: ServedWorkspace) -> None:
    """Those of others do not exist for it, whatever it asks of them."""
    theirs = served.submit(records=[served.world.ids[0]])
    mine = served.submit(Role.SUBMITTER, records=[served.world.ids[1]])
    other = served.workspace.tokens("make", role="submitter").bearer
    listed = served.ask("GET", "/erasures", Role.SUBMITTER).json()["erasures"]
    assert [one["request"] for one in listed] == [mine]
    for path in ("", "/history", "/certificate", "/verification"):
        assert served.ask("GET", f"/erasures/{theirs}{path}", Role.SUBMITTER).status_code == 404
    assert served.ask("DELETE", f"/erasures/{theirs}", Role.SUBMITTER).status_code == 404
    found = served.client.get(f"/erasures/{mine}", headers={"Authorization": f"Bearer {other}"})
    assert found.status_code == 404
    assert len(served.ask("GET", "/erasures", Role.AUDITOR).json()["erasures"]) == 2


def test_a_predictor_reads_no_request(served: ServedWorkspace) -> None:
    image = {"image": ("a.png", picture(1))}
    assert served.ask("POST", "/predict", Role.PREDICTOR, files=image).status_code == 200
    assert served.ask("GET", "/erasures", Role.PREDICTOR).status_code == 403
