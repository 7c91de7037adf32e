"""Erasure requests over HTTP: from a submission to the letter."""

from datetime import timedelta

import pytest

from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.storage.times import to_text, utcnow
from tests.service.conftest import Office


def test_a_person_is_forgotten_over_http(office: Office) -> None:
    """Submitted, worked off by the queue, verified, and told to the person."""
    person = office.world.subjects[4]
    body = {"subjects": [person], "legal_basis": "GDPR art. 17(1)(b)", "identity": "passport"}
    answer = office.ask("POST", "/erasures", Role.SUBMITTER, json=body)
    made = answer.json()
    path = answer.headers["location"]
    assert path == f"/erasures/{made['request']}" and made["state"] == "RECEIVED"
    assert office.ask("GET", f"{path}/certificate", Role.SUBMITTER).status_code == 409
    office.work_off()
    found = office.ask("GET", path, Role.SUBMITTER).json()
    assert (found["state"], found["targets"]) == ("CERTIFIED", {"removed": 1})
    assert found["legal_basis"] == "GDPR art. 17(1)(b)"
    events = [one["event"] for one in office.ask("GET", f"{path}/history").json()]
    assert events[0] == "received" and events[-1] == "certified"
    verified = office.ask("GET", f"{path}/verification", Role.SUBMITTER).json()
    assert verified["verified"] and verified["problem"] is None
    signed = office.ask("GET", f"{path}/certificate", Role.SUBMITTER)
    assert (
        signed.content == office.workspace.certificate(made["request"], keys=office.keys).envelope
    )
    letter = office.ask("GET", f"{path}/certificate?format=html", Role.SUBMITTER)
    assert letter.headers["content-type"].startswith("text/html")
    assert "Confirmation of erasure" in letter.text
    pdf = office.ask("GET", f"{path}/certificate?format=pdf", Role.SUBMITTER).content
    assert pdf.startswith(b"%PDF")


def test_no_answer_names_whom_it_is_about(office: Office) -> None:
    """Neither while it is open, nor in an error, nor afterwards."""
    record, person = office.world.ids[7], office.world.subjects[8]
    made = office.submit(records=[record], subjects=[person])
    said = [
        office.ask("GET", path).text
        for path in ("/erasures", f"/erasures/{made}", f"/erasures/{made}/history")
    ]
    wrong = {"records": [record], "subjects": [person], "due": person, "more": record}
    said.append(office.ask("POST", "/erasures", json=wrong).text)
    said.append(
        office.ask("POST", f"/erasures/{made}/refuse", json={"reason": f"of {person}"}).text
    )
    office.work_off()
    said.append(office.ask("GET", f"/erasures/{made}").text)
    assert not [text for text in said if record in text or person in text]


def test_the_same_key_is_the_same_request(office: Office) -> None:
    """Of one token: another's key is another key."""
    key, body = {"Idempotency-Key": "ticket 7"}, {"records": [office.world.ids[2]]}
    first, again = (
        office.ask("POST", "/erasures", json=body, headers=key).json()["request"] for _ in range(2)
    )
    other = office.ask("POST", "/erasures", Role.SUBMITTER, json=body, headers=key).json()
    assert first == again != other["request"]
    changed = {"records": [office.world.ids[3]]}
    assert office.ask("POST", "/erasures", json=changed, headers=key).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"records": []},
        {"records": "person-1"},
        {"records": [""]},
        {"records": ["a\0b"]},
        {"records": [7]},
        {"records": ["a"], "due": "2026-12-24T12:00:00"},
        {"records": ["a"], "due": "1999-01-01T00:00:00Z"},
        {"records": ["a"], "legal_basis": ""},
        {"records": ["a"], "legal_basis": " "},
        {"records": ["a"], "quarantine": "perhaps"},
        {"records": ["a"], "nobody": 1},
        {"records": ["x" * 1025]},
        [],
        "text",
        None,
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_a_sentence(office: Office, body: object) -> None:
    """And nothing is written."""
    answer = office.ask("POST", "/erasures", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"title", "status", "detail"} and answer.json()["detail"]
    assert office.ask("GET", "/erasures").json()["erasures"] == []


def test_what_the_law_lets_an_operator_decide(office: Office) -> None:
    first, second, third = (office.submit(records=[office.world.ids[at]]) for at in (3, 4, 5))
    why = {"reason": "a legal hold"}
    refused = office.ask("POST", f"/erasures/{first}/refuse", json=why).json()
    assert (refused["state"], refused["reason"]) == ("REFUSED", "a legal hold")
    assert office.ask("POST", f"/erasures/{first}/refuse", json=why).status_code == 409
    later = office.ask("POST", f"/erasures/{second}/extend", json={**why, "months": 1}).json()
    assert later["deadline"]["extended"] > later["deadline"]["due"]
    assert office.ask("POST", f"/erasures/{second}/extend", json=why).status_code == 409
    assert office.ask("POST", f"/erasures/{second}/retry").status_code == 409
    assert office.ask("DELETE", f"/erasures/{third}").json()["state"] == "CANCELLED"
    assert office.ask("DELETE", f"/erasures/{third}").status_code == 409
    missing = "er-20260101-0123456789abcdef"
    assert office.ask("DELETE", f"/erasures/{missing}").status_code == 404


def test_a_quarantined_answer_is_gone_when_the_request_is_answered(office: Office) -> None:
    """What was trained on the records answers no more."""
    before = office.ask("GET", "/v2/models/lmeraser").json()["versions"]
    office.submit(records=[office.world.ids[6]], quarantine=True)
    assert office.ask("GET", "/v2/models/lmeraser").json()["versions"] != before


def test_a_list_has_pages_and_filters(office: Office) -> None:
    made = [office.submit(records=[office.world.ids[at]]) for at in range(10, 15)]
    office.ask("DELETE", f"/erasures/{made[0]}")
    first = office.ask("GET", "/erasures?limit=3").json()
    rest = office.ask("GET", "/erasures", params={"limit": 3, "before": first["next"]}).json()
    assert [one["request"] for one in (*first["erasures"], *rest["erasures"])] == made[::-1]
    assert rest["next"] is None
    states = office.ask("GET", "/erasures?state=CANCELLED&state=REFUSED").json()["erasures"]
    assert [one["request"] for one in states] == [made[0]]
    due = to_text(utcnow() + timedelta(days=20))
    assert office.ask("GET", "/erasures", params={"due": due}).json()["erasures"] == []
    for wrong in ("limit=0", "limit=1001", "state=NEVER", "due=soon", "limit=x"):
        assert office.ask("GET", f"/erasures?{wrong}").status_code == 422


def test_whether_a_name_is_held_is_not_for_a_submitter_to_learn(office: Office) -> None:
    """A name with a character that nobody sees is refused; that one like it is held is said to an
    operator only."""
    body = {"subjects": [office.world.subjects[0] + "\u200b"]}
    told = office.ask("POST", "/erasures", json=body)
    untold = office.ask("POST", "/erasures", Role.SUBMITTER, json=body)
    assert told.status_code == untold.status_code == 422
    assert "held" in told.text and "held" not in untold.text
    nobody = office.ask("POST", "/erasures", Role.SUBMITTER, json={"subjects": ["x\u200b"]})
    assert nobody.json() == untold.json()
