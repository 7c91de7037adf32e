"""Erasure requests over HTTP: from a submission to the letter."""

import json
from datetime import timedelta

import pytest

from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.storage.times import to_text, utcnow
from tests.support.served_workspace import ServedWorkspace


def test_a_person_is_forgotten_over_http(served: ServedWorkspace) -> None:
    """Submitted, worked off by the queue, verified, and told to the person."""
    person = served.world.subjects[4]
    body = {"subjects": [person], "legal_basis": "GDPR art. 17(1)(b)", "identity": "passport"}
    answer = served.ask("POST", "/erasures", Role.SUBMITTER, json=body)
    made = answer.json()
    path = answer.headers["location"]
    assert path == f"/erasures/{made['request']}" and made["state"] == "RECEIVED"
    assert served.ask("GET", f"{path}/certificate", Role.SUBMITTER).status_code == 409
    served.work_off()
    found = served.ask("GET", path, Role.SUBMITTER).json()
    assert (found["state"], found["targets"]) == ("CERTIFIED", {"removed": 1})
    assert found["legal_basis"] == "GDPR art. 17(1)(b)"
    events = [one["event"] for one in served.ask("GET", f"{path}/history").json()]
    assert events[0] == "received" and events[-1] == "certified"
    verified = served.ask("GET", f"{path}/verification", Role.SUBMITTER).json()
    assert verified["verified"] and verified["problem"] is None
    signed = served.ask("GET", f"{path}/certificate", Role.SUBMITTER)
    assert (
        signed.content == served.workspace.certificate(made["request"], keys=served.keys).envelope
    )
    letter = served.ask("GET", f"{path}/certificate?format=html", Role.SUBMITTER)
    assert letter.headers["content-type"].startswith("text/html")
    assert "Confirmation of erasure" in letter.text
    pdf = served.ask("GET", f"{path}/certificate?format=pdf", Role.SUBMITTER).content
    assert pdf.startswith(b"%PDF")


def test_no_answer_names_whom_it_is_about(served: ServedWorkspace) -> None:
    """Neither while it is open, nor in an error, nor afterwards."""
    record, person = served.world.ids[7], served.world.subjects[8]
    made = served.submit(records=[record], subjects=[person])
    said = [
        served.ask("GET", path).text
        for path in ("/erasures", f"/erasures/{made}", f"/erasures/{made}/history")
    ]
    wrong = {"records": [record], "subjects": [person], "due": person, "more": record}
    said.append(served.ask("POST", "/erasures", json=wrong).text)
    said.append(
        served.ask("POST", f"/erasures/{made}/refuse", json={"reason": f"of {person}"}).text
    )
    served.work_off()
    said.append(served.ask("GET", f"/erasures/{made}").text)
    assert not [text for text in said if record in text or person in text]


def test_the_same_key_is_the_same_request(served: ServedWorkspace) -> None:
    """Of one token: another's key is another key."""
    key, body = {"Idempotency-Key": "ticket 7"}, {"records": [served.world.ids[2]]}
    first, again = (
        served.ask("POST", "/erasures", json=body, headers=key).json()["request"] for _ in range(2)
    )
    other = served.ask("POST", "/erasures", Role.SUBMITTER, json=body, headers=key).json()
    assert first == again != other["request"]
    changed = {"records": [served.world.ids[3]]}
    assert served.ask("POST", "/erasures", json=changed, headers=key).status_code == 422


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
        {"records": ["a"], "legal_basis": "a\0b"},
        {"records": ["a"], "identity": "\ud800"},
        {"records": ["a"], "quarantine": "perhaps"},
        {"records": ["a"], "nobody": 1},
        {"records": ["x" * 1025]},
        [],
        "text",
        None,
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    served: ServedWorkspace, body: object
) -> None:
    """And nothing is written."""
    form = {"Content-Type": "application/json"}
    answer = served.ask("POST", "/erasures", content=json.dumps(body), headers=form)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"title", "status", "detail"} and answer.json()["detail"]
    assert served.ask("GET", "/erasures").json()["erasures"] == []


def test_what_the_law_lets_an_operator_decide(served: ServedWorkspace) -> None:
    first, second, third = (served.submit(records=[served.world.ids[at]]) for at in (3, 4, 5))
    why = {"reason": "a legal hold"}
    refused = served.ask("POST", f"/erasures/{first}/refuse", json=why).json()
    assert (refused["state"], refused["reason"]) == ("REFUSED", "a legal hold")
    assert served.ask("POST", f"/erasures/{first}/refuse", json=why).status_code == 409
    later = served.ask("POST", f"/erasures/{second}/extend", json={**why, "months": 1}).json()
    assert later["deadline"]["extended"] > later["deadline"]["due"]
    assert served.ask("POST", f"/erasures/{second}/extend", json=why).status_code == 409
    assert served.ask("POST", f"/erasures/{second}/retry").status_code == 409
    assert served.ask("DELETE", f"/erasures/{third}").json()["state"] == "CANCELLED"
    assert served.ask("DELETE", f"/erasures/{third}").status_code == 409
    missing = "er-20260101-0123456789abcdef"
    assert served.ask("DELETE", f"/erasures/{missing}").status_code == 404


def test_a_quarantined_answer_is_gone_when_the_request_is_answered(served: ServedWorkspace) -> None:
    """What was trained on the records answers no more."""
    before = served.ask("GET", "/v2/models/lmeraser").json()["versions"]
    served.submit(records=[served.world.ids[6]], quarantine=True)
    assert served.ask("GET", "/v2/models/lmeraser").json()["versions"] != before


def test_a_list_has_pages_and_filters(served: ServedWorkspace) -> None:
    made = [served.submit(records=[served.world.ids[at]]) for at in range(10, 15)]
    served.ask("DELETE", f"/erasures/{made[0]}")
    first = served.ask("GET", "/erasures?limit=3").json()
    rest = served.ask("GET", "/erasures", params={"limit": 3, "before": first["next"]}).json()
    assert [one["request"] for one in (*first["erasures"], *rest["erasures"])] == made[::-1]
    assert rest["next"] is None
    states = served.ask("GET", "/erasures?state=CANCELLED&state=REFUSED").json()["erasures"]
    assert [one["request"] for one in states] == [made[0]]
    due = to_text(utcnow() + timedelta(days=20))
    assert served.ask("GET", "/erasures", params={"due": due}).json()["erasures"] == []
    for wrong in ("limit=0", "limit=1001", "state=NEVER", "due=soon", "limit=x"):
        assert served.ask("GET", f"/erasures?{wrong}").status_code == 422


def test_whether_a_name_is_held_is_not_for_a_submitter_to_learn(served: ServedWorkspace) -> None:
    """A name with a character that nobody sees is refused; that one like it is held is said to an
    operator only."""
    body = {"subjects": [served.world.subjects[0] + "\u200b"]}
    told = served.ask("POST", "/erasures", json=body)
    untold = served.ask("POST", "/erasures", Role.SUBMITTER, json=body)
    assert told.status_code == untold.status_code == 422
    assert "held" in told.text and "held" not in untold.text
    nobody = served.ask("POST", "/erasures", Role.SUBMITTER, json={"subjects": ["x\u200b"]})
    assert nobody.json() == untold.json()
