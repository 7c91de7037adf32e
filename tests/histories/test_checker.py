"""The checker of histories: it accepts what has an order, and finds what has none."""

import pytest

from tests.support.linearizability import REFUSED, STALE, Call, impossible


def calls(*told: tuple[str, int, int | None, object]) -> list[Call]:
    """Calls about one request: verb, invoked, returned, answer."""
    return [
        Call(f"client-{at}", verb, "key-0", invoked, returned, answer)
        for at, (verb, invoked, returned, answer) in enumerate(told)
    ]


SUBMITTED = ("submit", 0, 1, "er-1")
GOOD = {
    "one after the other": [
        SUBMITTED,
        ("plan", 2, 3, "PLANNED"),
        ("cancel", 4, 5, REFUSED),
        ("begin", 6, 7, "TRAINING"),
        ("publish", 8, 9, "PUBLISHED"),
        ("look", 10, 11, "PUBLISHED"),
    ],
    "two that overlap took effect in the other order": [
        SUBMITTED,
        ("cancel", 2, 9, REFUSED),
        ("plan", 3, 8, "PLANNED"),
    ],
    "a look during a change sees either state": [
        SUBMITTED,
        ("plan", 2, 9, "PLANNED"),
        ("look", 3, 4, "RECEIVED"),
        ("look", 5, 6, "PLANNED"),
    ],
    "a key that is sent twice is one request": [SUBMITTED, ("submit", 0, 3, "er-1")],
    "nobody knows what became of a call without an answer": [
        SUBMITTED,
        ("cancel", 2, None, None),
        ("look", 3, 4, "RECEIVED"),
        ("look", 5, 6, "CANCELLED"),
    ],
    "a call without an answer never took effect": [
        SUBMITTED,
        ("cancel", 2, None, None),
        ("plan", 3, 4, "PLANNED"),
        ("look", 5, 6, "PLANNED"),
    ],
    "a call without an answer took effect late": [
        SUBMITTED,
        ("retry", 2, None, None),
        ("look", 3, 4, "RECEIVED"),
        ("fail", 5, 6, "FAILED"),
        ("look", 7, 8, "RECEIVED"),
    ],
    "an extension outlives its state": [
        SUBMITTED,
        ("extend", 2, 3, "RECEIVED extended"),
        ("extend", 4, 5, REFUSED),
        ("plan", 6, 7, "PLANNED extended"),
    ],
    "who lost the lease changes nothing": [
        SUBMITTED,
        ("plan", 2, 3, STALE),
        ("look", 4, 5, "RECEIVED"),
    ],
}
BAD = {
    "an acknowledged request is lost": [SUBMITTED, ("look", 2, 3, REFUSED)],
    "an acknowledged cancel is undone": [
        SUBMITTED,
        ("cancel", 2, 3, "CANCELLED"),
        ("look", 4, 5, "RECEIVED"),
    ],
    "both of two that exclude each other succeed": [
        SUBMITTED,
        ("cancel", 2, 9, "CANCELLED"),
        ("plan", 3, 8, "PLANNED"),
    ],
    "a look goes back in time": [
        SUBMITTED,
        ("plan", 2, 9, "PLANNED"),
        ("look", 3, 4, "PLANNED"),
        ("look", 5, 6, "RECEIVED"),
    ],
    "a key stands for two requests": [SUBMITTED, ("submit", 0, 3, "er-2")],
    "what was cancelled is certified": [
        SUBMITTED,
        ("plan", 2, 3, "PLANNED"),
        ("publish", 4, 5, "PUBLISHED"),
        ("purge", 6, 7, "PURGED"),
        ("cancel", 8, 9, "CANCELLED"),
        ("certify", 10, 11, "CERTIFIED"),
    ],
    "extended twice": [
        SUBMITTED,
        ("extend", 2, 9, "RECEIVED extended"),
        ("extend", 3, 8, "RECEIVED extended"),
    ],
    "who lost the lease changed something": [
        SUBMITTED,
        ("plan", 2, 3, STALE),
        ("look", 4, 5, "PLANNED"),
    ],
    "refused for no reason": [SUBMITTED, ("cancel", 2, 3, REFUSED)],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_has_an_order(name: str) -> None:
    assert impossible(calls(*GOOD[name])) == []


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_has_none(name: str) -> None:
    [story] = impossible(calls(*BAD[name]))
    assert "client-0 submit → er-1" in story


def test_only_the_request_that_is_wrong_is_told() -> None:
    good = [Call("a", "submit", "key-1", 0, 1, "er-9")]
    [story] = impossible([*good, *calls(*BAD["an acknowledged request is lost"])])
    assert "er-9" not in story


def test_many_that_overlap_are_checked_at_once() -> None:
    """30 looks beside each other: the memory keeps this from 30! orders."""
    looks = [("look", 2, 100, "RECEIVED") for _ in range(30)]
    assert impossible(calls(SUBMITTED, *looks)) == []
    assert impossible(calls(SUBMITTED, *looks, ("look", 2, 100, "PLANNED")))
