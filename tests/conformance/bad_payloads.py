"""Signed payloads that are no statement, or not its one encoding."""

from collections.abc import Iterator

from tests.conformance.forge import Case, Json, canonical, changed, put, sealed, swapped
from tests.conformance.good_cases import nested
from tests.conformance.statements import VERSIONS

P = "predicate"
Payloads = Iterator[tuple[str, str, bytes]]
"""Name, reason and bytes."""
NUMBERS = {
    "with-a-point": "1200.0",
    "with-an-exponent": "12e2",
    "with-a-small-exponent": "1200e0",
    "with-a-zero": "01200",
    "with-a-plus": "+1200",
    "minus-zero": "-0",
    "2-to-the-53": "9007199254740992",
    "2-to-the-53-plus-1": "9007199254740993",
    "a-large-one": "1" + "0" * 30,
    "of-5000-digits": "9" * 5000,
    "beyond-doubles": "1e400",
    "nan": "NaN",
    "infinity": "Infinity",
    "hexadecimal": "0x4b0",
}
"""That no canonical document has, as a count or elsewhere."""
FREE_NUMBERS = {
    "0.10": "0.10",
    "point-first": ".1",
    "capital-e": "1E-7",
    "plus": "1e+7",
    "no-plus": "1e21",
    "minus-2-to-the-53": "-9007199254740992",
    "1e20": "100000000000000000000",
    "too-many-digits": "0.1000000000000000055511151231257827",
}
"""The same, where a number may have a fraction."""
STRINGS: dict[str, str | bytes] = {
    "a-letter": '"\\u004demory"',
    "no-ascii": '"\\u00e9"',
    "a-pair": '"\\ud83d\\ude00"',
    "upper-case": '"\\u001F"',
    "a-long-newline": '"\\u000a"',
    "a-slash": '"\\/"',
    "a-control-character": '"\x01"',
    "a-tab": '"\t"',
    "a-lone-surrogate": '"\\ud800"',
    "a-lone-low-surrogate": '"\\udc00x"',
    "bytes-of-a-surrogate": b'"\xed\xa0\x80"',
    "bytes-that-are-no-utf-8": b'"\xff"',
    "bytes-overlong": b'"\xc0\xaf"',
}
"""Escapes that are not the shortest, or missing, and what is no character."""


def no_statements(base: Json) -> Payloads:
    """Something else, or a part."""
    good = canonical(base)
    for name, value in {
        "list": [base],
        "null": None,
        "number": 1,
        "text": good.decode(),
        "empty-object": {},
        "predicate-alone": base[P],
    }.items():
        yield name, "It is no statement.", canonical(value)
    yield "empty", "No bytes.", b""
    yield "truncated", "The last byte is missing.", good[:-1]
    for levels in (31, 300, 10_000):  # the whole and the predicate are two
        deep = "[" * levels + "]" * levels
        yield f"nested-{levels}", "32 levels.", swapped(good, '{"rate":0.1}', deep)
    free = changed(base, put(f"{P}.configuration", {"deep": nested(30)}))
    yield "nested-in-an-object", "32 levels.", canonical(free)


def other_encodings(base: Json) -> Payloads:
    """The same JSON value, or one that a lenient parser takes for it, in other bytes."""
    good = canonical(base)
    yield "trailing-newline", "A byte too many.", good + b"\n"
    yield "bom", "A byte order mark.", b"\xef\xbb\xbf" + good
    yield "utf-16", "Other bytes for the same text.", good.decode().encode("utf-16-le")
    yield "a-space", "White space.", swapped(good, '"passes":', '"passes": ')
    for name, old, new in (
        ("field-twice", '"passes"', '"passes":1,"passes"'),
        ("field-twice-the-same", '"passes":1200', '"passes":1200,"passes":1200'),
        ("free-field-twice", '{"rate":0.1}', '{"rate":1,"rate":0.1}'),
    ):
        yield name, "The same field twice.", swapped(good, old, new)
    one, other = '"database":"sqlite"', '"engine":"inline"'
    turned = swapped(good, f"{one},{other}", f"{other},{one}")
    yield "names-unsorted", "The names are not sorted.", turned
    two = changed(base, put(f"{P}.configuration", {"\ufb33": 1, "😀": 2}))
    turned = swapped(canonical(two), '"😀":2,"\ufb33":1', '"\ufb33":1,"😀":2')
    yield "names-by-code-points", "RFC 8785, 3.2.3.", turned


def other_values(base: Json) -> Payloads:
    """Numbers and strings that are written otherwise."""
    good, why = canonical(base), "Not as it is written."
    for name, number in NUMBERS.items():
        yield f"count/{name}", why, swapped(good, "1200", number)
    for name, number in (NUMBERS | FREE_NUMBERS).items():
        yield f"free-number/{name}", why, swapped(good, "0.1", number)
    for name, text in STRINGS.items():
        yield f"string/{name}", why, swapped(good, '"Memory is not searched."', text)


def bad_payloads() -> Iterator[Case]:
    """Of the newest version: the others are encoded as it is."""
    for maker in (no_statements, other_encodings, other_values):
        for name, why, payload in maker(VERSIONS[max(VERSIONS)]):
            yield Case(f"payload/{name}", "statement", why, canonical(sealed(payload)))
