"""The page, as a browser asks it: who gets in, what is shown, what a form does."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import time_machine

from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.storage.times import utcnow
from tests.support.served_workspace import ServedWorkspace

HOST = "http://testserver"
VIEWS = ("/today", "/requests", "/requests/new", "/model", "/proof", "/places")


class Browser:
    """Keeps a cookie, follows redirections, and sends where a form comes from."""

    def __init__(self, served: ServedWorkspace, role: Role | None = Role.OPERATOR) -> None:
        self.client = served.client
        self.client.cookies.clear()
        self.last: httpx.Response | None = None
        if role is not None:
            self.send("/login", token=served.tokens[role])

    def open(self, path: str) -> str:
        """A page's text."""
        self.last = self.client.get(path, headers={"Accept": "text/html"})
        return self.last.text

    def send(self, path: str, origin: str = HOST, **fields: str) -> str:
        """The text of the page after a form was sent."""
        headers = {"Origin": origin, "Accept": "text/html"}
        self.last = self.client.post(path, data=fields, headers=headers)
        return self.last.text

    @property
    def path(self) -> str:
        assert self.last is not None
        return self.last.url.path

    @property
    def status(self) -> int:
        assert self.last is not None
        return self.last.status_code


def test_a_stranger_is_asked_for_a_token(served: ServedWorkspace) -> None:
    browser = Browser(served, None)
    for view in (*VIEWS, "/", "/requests/er-20260101-0123456789abcdef"):
        assert "Whoever runs it gives you a token" in browser.open(view)
        assert browser.path == "/login"
    assert "opens nothing here" in browser.send("/login", token="lme-nothing")
    assert browser.status == 401 and not browser.client.cookies
    browser.send("/login", token=f" {served.tokens[Role.OPERATOR]} ")
    assert browser.path == "/today"
    browser.send("/logout")
    browser.open("/today")
    assert browser.path == "/login"


def test_the_cookie_is_sent_by_no_other_site_and_read_by_no_script(served: ServedWorkspace) -> None:
    sent = served.client.post(
        "/login",
        data={"token": served.tokens[Role.AUDITOR]},
        headers={"Origin": HOST},
        follow_redirects=False,
    ).headers["set-cookie"]
    assert "HttpOnly" in sent and "SameSite=strict" in sent


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
def test_a_form_of_another_site_changes_nothing(served: ServedWorkspace, origin: str) -> None:
    browser = Browser(served)
    made = served.submit(records=[served.world.ids[0]])
    for path in (f"/requests/{made}/cancel", "/requests/new", "/logout", "/login", "/proof"):
        browser.send(path, origin=origin, records="a", confirmed="true")
        assert browser.status == 403, path
    assert served.ask("GET", f"/erasures/{made}").json()["state"] == "RECEIVED"


def test_a_revoked_token_leads_to_the_entrance(served: ServedWorkspace) -> None:
    browser = Browser(served)
    browser.open("/today")
    served.workspace.tokens("revoke", token=served.tokens[Role.OPERATOR])
    browser.open("/today")
    assert browser.path == "/login"


@pytest.mark.parametrize("role", [Role.SUBMITTER, Role.AUDITOR, Role.OPERATOR])
def test_each_view_is_for_its_roles(served: ServedWorkspace, role: Role) -> None:
    """What a role may not see is not linked either."""
    browser = Browser(served, role)
    hidden = {Role.SUBMITTER: {"/places"}, Role.AUDITOR: {"/requests/new"}}.get(role, set())
    for view in VIEWS:
        text = browser.open(view)
        assert browser.status == (403 if view in hidden else 200), view
        if view not in hidden:
            links = set(re.findall(r'<li><a href="(/[a-z/]+)"', text))
            assert {*VIEWS} - hidden <= links and not links & hidden


def test_a_predictor_has_no_page(served: ServedWorkspace) -> None:
    browser = Browser(served, Role.PREDICTOR)
    assert browser.status == 403 and "has no page" in browser.open("/today")


def test_a_person_who_does_not_type_forgets_a_person(served: ServedWorkspace) -> None:
    """From the form to the letter, and the check of the certificate."""
    browser = Browser(served)
    assert "Every request is answered" in browser.open("/today")
    person = served.world.subjects[6]
    fields = {"subjects": f"{person}\n", "legal_basis": "GDPR art. 17(1)(b)"}
    preview = browser.send("/requests/new", **fields)
    assert "0 records and\n1 person" in preview and "% of a full training" in preview
    assert served.ask("GET", "/erasures").json()["erasures"] == []
    key = re.findall(r'name="key" value="([0-9]+)"', preview)[0]
    for _ in range(2):  # a form that is sent twice is one request
        text = browser.send("/requests/new", **fields, confirmed="true", key=key)
    made = browser.path.rpartition("/")[2]
    assert len(served.ask("GET", "/erasures").json()["erasures"]) == 1
    assert "Received" in text and "GDPR art. 17(1)(b)" in text and 'hx-trigger="every 1s"' in text
    assert made in browser.open("/today") and made in browser.open("/requests?state=RECEIVED")
    served.work_off()
    text = browser.open(f"/requests/{made}")
    assert "The erasure is done." in text and "hx-trigger" not in text
    assert text.count('<li class="done') == 6
    live = browser.client.get(f"/requests/{made}", headers={"HX-Request": "true"})
    assert live.headers["hx-refresh"] == "true"
    said = {
        form: browser.client.get(f"/requests/{made}/certificate/{form}").content
        for form in ("json", "html", "pdf")
    }
    assert said["pdf"].startswith(b"%PDF") and b"Confirmation of erasure" in said["html"]
    assert "genuine" in check(browser, said["json"])
    assert "no certificate of this service" in check(browser, said["json"].replace(b'"', b"'", 1))
    every = [browser.open(view) for view in (*VIEWS, f"/requests/{made}")]
    assert not [text for text in every if person in text]


def check(browser: Browser, certificate: bytes) -> str:
    """What the page says of a certificate."""
    return browser.client.post(
        "/proof", files={"certificate": ("c.json", certificate)}, headers={"Origin": HOST}
    ).text


def test_what_is_wrong_is_said_and_what_was_typed_stays(served: ServedWorkspace) -> None:
    browser = Browser(served)
    assert "Nobody is named" in browser.send("/requests/new", identity="by passport")
    assert browser.status == 422 and 'value="by passport"' in browser.send(
        "/requests/new", identity="by passport"
    )
    unknown = browser.send("/requests/new", records="nobody\n<script>alert(1)</script>")
    assert "<script>alert" not in unknown and "&lt;script&gt;" in unknown
    assert "is neither" in unknown or "nobody" in unknown


def test_what_a_request_costs_is_not_for_a_submitter_to_learn(served: ServedWorkspace) -> None:
    """It would tell who is in the data: the answers for a person and for nobody are one."""
    browser = Browser(served, Role.SUBMITTER)

    def asked(name: str) -> str:
        text = browser.send("/requests/new", subjects=name)
        return re.sub(r'name="key" value="[0-9]+"', "", text.replace(name, "NAME"))

    assert asked(served.world.subjects[1]) == asked("nobody-at-all")


def test_an_operator_decides_with_a_reason(served: ServedWorkspace) -> None:
    browser = Browser(served)
    first, second, third = (served.submit(records=[served.world.ids[at]]) for at in (1, 2, 3))
    assert "a legal hold" in browser.send(f"/requests/{first}/refuse", reason="a legal hold")
    assert "Refused" in browser.open(f"/requests/{first}")
    assert "reason" in browser.send(f"/requests/{second}/refuse", reason=" ").lower()
    assert "put off: holidays" in browser.send(f"/requests/{second}/extend", reason="holidays")
    assert "only once" in browser.send(f"/requests/{second}/extend", reason="again")
    assert "Cancelled" in browser.send(f"/requests/{third}/cancel")
    assert browser.send(f"/requests/{third}/retry").count("only from FAILED")
    assert browser.status == 409
    assert "sent me" not in browser.open(f"/requests/{third}?wrong=sent+me")
    browser = Browser(served, Role.AUDITOR)
    for what in ("refuse", "extend", "retry", "cancel"):
        browser.send(f"/requests/{second}/{what}", reason="no")
        assert browser.status == 403


def test_a_submitter_sees_its_own_requests_only_on_the_page(served: ServedWorkspace) -> None:
    theirs = served.submit(records=[served.world.ids[0]])
    mine = served.submit(Role.SUBMITTER, records=[served.world.ids[1]])
    browser = Browser(served, Role.SUBMITTER)
    for view in ("/today", "/requests"):
        text = browser.open(view)
        assert mine in text and theirs not in text
    browser.open(f"/requests/{theirs}")
    assert browser.status == 404


@contextmanager
def later(days: float) -> Iterator[None]:
    with time_machine.travel(utcnow().timestamp() + 86_400 * days):
        yield


def test_what_is_late_is_told_first(served: ServedWorkspace) -> None:
    first = served.submit(records=[served.world.ids[0]])
    with later(20):
        second = served.submit(records=[served.world.ids[1]])
    with later(33):
        text = Browser(served).open("/today")
        assert text.index(first) < text.index(second) and "late" in text
        assert "<b>1</b> past the deadline" in text


def test_the_page_loads_nothing_of_others(served: ServedWorkspace) -> None:
    """No address of another host, no script or style within a page."""
    browser = Browser(served)
    for view in (*VIEWS, "/login", "/nothing"):
        text = browser.open(view)
        policy = browser.last.headers["content-security-policy"]  # type: ignore[union-attr]
        assert "unsafe" not in policy and "script-src 'self'" in policy
        assert (
            "http://" not in text
            and "https://" not in text
            and "//" not in re.sub(r"[a-z]+://testserver", "", text)
        )
        assert not re.search(r"<script>|<style|style=|onclick=|javascript:", text)
    for name in ("style.css", "htmx.min.js"):
        assert browser.client.get(f"/static/{name}").status_code == 200
    assert browser.client.get("/static/..%2Fviews.py").status_code == 404


def test_before_a_training_the_page_teaches(
    base: tuple[object, Path], tmp_path: Path, served: ServedWorkspace
) -> None:
    """A workspace whose pointer is gone shows how to train."""
    root = Path(served.workspace.session.root)
    shutil.move(root / "CURRENT", tmp_path / "CURRENT")
    assert "lmeraser train" in Browser(served).open("/model")
