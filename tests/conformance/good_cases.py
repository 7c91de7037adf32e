"""Certificates that every verifier must accept, the unusual ones above all."""

from collections.abc import Iterator

from tests.conformance.forge import (
    KEY,
    OLD_KEY,
    STRANGER,
    Case,
    Json,
    canonical,
    certificate,
    changed,
    envelope,
    pae,
    put,
)
from tests.conformance.statements import AFTER, DUE, FINDING, VERSIONS

P = "predicate"
EXTENSION = "2026-04-30T12:00:00.000000Z"
TEXT = '"\\/\b\f\n\r\t\x00\x1f\x7f\u0085\u2028\u2029\ufeff é e\u0301 \u212b 😀 \U0010ffff'
"""Every kind of escape, and what looks as if it needed one."""
KEYS = ["\r", "1", "10", "2", "\x80", "ö", "€", "😀", "\ufb33", "__proto__", "constructor", ""]
"""Among them the sample of RFC 8785, 3.2.3: sorting code points gives another order."""
NUMBERS = [
    *(0.1, 1e-7, 1e-6, 4.5, 2e-3, 333333333.33333329, 1e30, 1e-27, 1e21, 1.5e300),
    *(5e-324, -5e-324, 1.7976931348623157e308, 9007199254740991, -9007199254740991, 0),
]


def nested(levels: int) -> object:
    """Arrays within one another, so many of them."""
    found: list[object] = []
    for _ in range(levels - 1):
        found = [found]
    return found


def statements(base: Json) -> Iterator[tuple[str, str, Json]]:
    """Name, reason and statement."""

    def made(name: str, why: str, *changes: tuple[str, object]) -> tuple[str, str, Json]:
        found = changed(base, *(put(f"{P}.{path}", value) for path, value in changes))
        return name, why, found

    def late(due: str, extended: str | None, purged: str, met: bool) -> list[tuple[str, object]]:
        return [
            ("request.due", DUE),
            ("request.extended", extended),
            ("deadline.due", due),
            ("deadline.met", met),
            ("times.purged", purged),
        ]

    yield made("plain", "A record that had gone before, and a subject.")
    yield made("on-time", "Purged in the last microsecond.", *late(DUE, None, DUE, True))
    after = DUE.replace("00.000000", "00.000001")
    yield made("late", "One microsecond later: it says so itself.", *late(DUE, None, after, False))
    yield made(
        "extended",
        "The extension's moment takes the place of `due`.",
        *late(EXTENSION, EXTENSION, after, True),
    )
    yield made(
        "extended-and-late",
        "Later than the extension.",
        *late(EXTENSION, EXTENSION, "2026-04-30T12:00:00.000001Z", False),
    )
    nothing = [("times.planned", None), ("times.training", None)]
    yield made("nothing-to-train", "`planned` and `training` may be null.", *nothing)
    yield made("chosen", "A sweep chose the configuration.", ("choice", {"seen": 3, "of": 4}))
    lists = ("erased.targets", "erased.records", "constituents.rebuilt", "numerics")
    empty = [(path, list[object]()) for path in (*lists, "transient", "backups")]
    yield made("empty-lists", "Every list may be empty.", *empty)
    free = [("scan", {}), ("configuration", {}), ("numerics", [{}])]
    yield made("empty-objects", "Free objects may be empty.", *free)
    yield made(
        "sentences-in-their-own-order",
        "`transient` and `backups` are no sets.",
        ("transient", ["b", "a", "a"]),
        ("backups", ["d", "c", "d"]),
    )
    yield made(
        "strings",
        'Strings are not normalised, and only `"`, `\\` and control characters are escaped.',
        ("request.id", TEXT),
        ("configuration", {TEXT: [TEXT]}),
        ("transient", [TEXT, ""]),
    )
    yield made(
        "names-in-the-order-of-utf-16",
        "RFC 8785, 3.2.3; no name is special.",
        ("configuration", {name: n for n, name in enumerate(KEYS)}),
    )
    yield made("numbers", "As ECMAScript writes them.", ("configuration", {"all": NUMBERS}))
    yield made(
        "strings-in-the-order-of-code-points",
        "Sets of strings are sorted by code points, unlike the names of fields.",
        ("constituents.rebuilt", ["", "a", "b", "\ufb33", "😀"]),
    )
    yield made(
        "numerics-in-the-order-of-bytes",
        "By their canonical bytes.",
        ("numerics", [{"a": "\ufb33"}, {"a": "😀"}, {"a": 10}, {"a": 9}, {"b": 1}, {}]),
    )
    yield made("deep", "32 levels.", ("configuration", {"deep": nested(29)}))
    yield made("wide-numbers", "The largest count.", ("passes", 2**53 - 1), ("seed", -(2**53) + 1))
    yield made(
        "ray-and-postgresql",
        "Other names.",
        ("execution", {"engine": "ray", "database": "postgresql"}),
    )
    days = ("0001-01-01T00:00:00.000000Z", "2024-02-29T23:59:59.999999Z")
    yield made(
        "first-and-leap-days",
        "Any day of the calendar.",
        ("request.received", days[0]),
        ("times.received", days[1]),
        *late("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z", days[1], True),
    )
    yield made(
        "all-outcomes",
        "`removed`, `already` and `unknown`.",
        (
            "erased.targets",
            [
                {"what": "record", "hash": "a" * 64, "outcome": "already"},
                {"what": "record", "hash": "b" * 64, "outcome": "removed"},
                {"what": "subject", "hash": "0" * 64, "outcome": "unknown"},
            ],
        ),
    )
    both = ("place", "z"), ("file", "a.txt")
    findings = [dict([*FINDING.items(), change]) for change in reversed(both)]
    if base is VERSIONS[2]:
        yield made("accepted", "A finding that somebody accepted.", ("exceptions", [FINDING]))
        yield made("accepted-twice", "By place, trace, file and moment.", ("exceptions", findings))
    same = changed(base, put(f"{P}.state.before", AFTER))
    yield "nothing-changed", "Whatever it named had gone before.", same


def good_cases() -> Iterator[Case]:
    for version, base in VERSIONS.items():
        for name, why, whole in statements(base):
            yield Case(f"{version}/good/{name}", "good", why, certificate(whole))
    payload = canonical(VERSIONS[1])
    old = certificate(VERSIONS[1], OLD_KEY)
    yield Case("good/signed-by-a-rotated-key", "good", "Its public key is at hand.", old)
    other = KEY.answer(STRANGER.raw, STRANGER.scalar, pae(payload))
    why = "A signer can choose the nonce; nobody else can make such a signature."
    yield Case("good/signed-with-another-nonce", "good", why, canonical(envelope(payload, other)))
