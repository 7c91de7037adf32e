"""Certificates whose envelope and signature are good, and whose statement is not: a signer's
mistake, or a verifier's that does not look."""

from collections.abc import Iterator
from typing import Any

from tests.conformance.forge import Case, Json, at, certificate, changed, drop, put
from tests.conformance.statements import FINDING, OPTIONAL, VERSIONS

P = "predicate"
FREE = (f"{P}.scan", f"{P}.configuration", f"{P}.numerics.0", f"{P}.numerics.1")
"""Objects of any shape."""
NULLABLE = {f"{P}.request.extended", f"{P}.times.planned", f"{P}.times.training"}
Wholes = Iterator[tuple[str, str, Json]]
HASHES = {
    "upper-case": "A" * 64,
    "63-digits": "a" * 63,
    "65-digits": "a" * 65,
    "a-newline": "a" * 64 + "\n",
    "no-digits": "g" * 64,
    "a-name": "person-1/a.png",
    "nothing": "",
}
MOMENTS = {
    "month-13": "2026-13-01T00:00:00.000000Z",
    "month-0": "2026-00-01T00:00:00.000000Z",
    "february-30": "2026-02-30T00:00:00.000000Z",
    "february-29": "2026-02-29T00:00:00.000000Z",
    "hour-24": "2026-02-01T24:00:00.000000Z",
    "second-60": "2026-02-01T23:59:60.000000Z",
    "year-0": "0000-02-01T00:00:00.000000Z",
    "year-10000": "10000-02-01T00:00:00.000000Z",
    "an-offset": "2026-02-01T00:00:00.000000+00:00",
    "no-zone": "2026-02-01T00:00:00.000000",
    "no-fraction": "2026-02-01T00:00:00Z",
    "milliseconds": "2026-02-01T00:00:00.000Z",
    "an-offset-before-the-first-day": "0001-01-01T00:00:00.000000+14:00",
    "an-offset-after-the-last-day": "9999-12-31T23:59:59.999999-14:00",
    "a-comma": "2026-02-01T00:00:00,000000Z",
    "a-small-z": "2026-02-01T00:00:00.000000z",
    "a-space": "2026-02-01 00:00:00.000000Z",
    "a-newline": "2026-02-01T00:00:00.000000Z\n",
    "a-day": "2026-02-01",
    "a-week": "2026-W05-7T00:00:00.000000Z",
    "basic": "20260201T000000.000000Z",
    "other-digits": "２０２６-02-01T00:00:00.000000Z",
    "nothing": "",
    "a-word": "tomorrow",
}


def paths(value: object, path: str = "") -> Iterator[str]:
    """Every field of objects that have a fixed shape, and of the first item of lists."""
    if isinstance(value, dict) and path not in FREE:
        for name, below in value.items():
            yield f"{path}.{name}".strip(".")
            yield from paths(below, f"{path}.{name}".strip("."))
    elif isinstance(value, list) and value and path != f"{P}.numerics":
        yield from paths(value[0], f"{path}.0")


def others(value: object) -> Iterator[tuple[str, object]]:
    """Values of other types than that of this one, the likely mistakes."""
    if isinstance(value, bool):
        yield "number", int(value)
    elif isinstance(value, int):
        yield from (("text", str(value)), ("true", True), ("fraction", value + 0.5))
        yield "exponent", 1e21
    elif isinstance(value, str):
        yield from (("number", 1), ("list", [value]))
    else:
        yield from (("text", "x"), ("list", [value]) if value != [] else ("object", {}))


def shapes(version: int) -> Wholes:
    """Each field missing, null or of another type; each object with one more."""
    optional = {f"{P}.{name}": value for name, value in OPTIONAL[version].items()}
    base = changed(VERSIONS[version], *(put(path, value) for path, value in optional.items()))
    for path in {"": None, **dict.fromkeys(paths(base))}:
        value = at(base, path)
        if isinstance(value, dict) and path not in FREE:
            more = changed(base, put(f"{path}.more".strip("."), 1))
            yield f"more/{path or 'whole'}", "A field too many.", more
        if not path:
            continue
        if path not in optional:
            yield f"without/{path}", "A field is missing.", changed(base, drop(path))
        if path not in NULLABLE:
            yield f"null/{path}", "It is null.", changed(base, put(path, None))
        for kind, other in others(value):
            yield f"{kind}/{path}", "Of another type.", changed(base, put(path, other))
    for path in ("passes", "purged.files", "constituents.reused", "choice.seen", "choice.of"):
        yield f"negative/{path}", "A count below 0.", changed(base, put(f"{P}.{path}", -1))


def contents(version: int) -> Wholes:
    """Values of the right type that cannot be, or contradict one another."""
    base = VERSIONS[version]

    def made(name: str, why: str, *changes: tuple[str, object]) -> tuple[str, str, Json]:
        return name, why, changed(base, *(put(path, value) for path, value in changes))

    yield made(
        "another-type",
        "Of in-toto's older version.",
        ("_type", "https://in-toto.io/Statement/v0.1"),
    )
    for name, kind in {
        "version-0": "urn:lmeraser-ray:erasure:0",
        "version-3": "urn:lmeraser-ray:erasure:3",
        "version-01": "urn:lmeraser-ray:erasure:01",
        "no-version": "urn:lmeraser-ray:erasure",
        "upper-case": "URN:lmeraser-ray:erasure:1",
        "another-predicate": "https://slsa.dev/provenance/v1",
    }.items():
        yield made(f"predicate-type-{name}", "No version that is read.", ("predicateType", kind))
    subject = base["subject"][0]
    other = {"name": "workspace", "digest": dict.fromkeys(subject["digest"], "0" * 64)}
    yield made("no-subject", "One subject.", ("subject", []))
    yield made("two-subjects", "One subject.", ("subject", [subject, subject]))
    yield made("another-state", "The subject is not the state after.", ("subject", [other]))
    yield made("another-name", "The subject is the workspace.", ("subject.0.name", "model"))
    for name, text in HASHES.items():
        [digest] = subject["digest"]
        both = [(f"{P}.state.after", text), (f"subject.0.digest.{digest}", text)]
        yield made(f"hash/{name}/state.after", "64 hexadecimal digits.", *both)
    for path in ("erased.records.0", "erased.targets.0.hash", "state.before"):
        one = (f"{P}.{path}", HASHES["a-name"])
        yield made(f"hash/a-name/{path}", "64 hexadecimal digits.", one)
    for path in ("erased.targets", "erased.records", "constituents.rebuilt", "numerics"):
        full = f"{P}.{path}"
        items: list[Any] = at(base, full)
        yield made(f"unsorted/{path}", "A set is sorted.", (full, items[::-1]))
        yield made(f"twice/{path}", "A set has each once.", (full, [items[0], *items]))
    units = ["😀", "\ufb33"]
    yield made("sorted-by-utf-16", "By code points.", (f"{P}.constituents.rebuilt", units))
    record, person = base[P]["erased"]["targets"]
    by_hash = [{**person, "hash": "0" * 64}, {**record, "hash": "f" * 64}]
    yield made("sorted-by-hash", "By `what` first.", (f"{P}.erased.targets", by_hash))
    yield made("another-outcome", "No such outcome.", (f"{P}.erased.targets.0.outcome", "open"))
    yield made("another-target", "No such kind.", (f"{P}.erased.targets.0.what", "class"))
    yield made("choice-empty", "Absent, or two counts.", (f"{P}.choice", {}))
    yield made("a-version", "The predicate's type says it.", (f"{P}.version", version))
    theirs = VERSIONS[3 - version]["subject"]
    yield made("subject-of-another-version", "Its digest has another name.", ("subject", theirs))


def exceptions(version: int) -> Wholes:
    """Findings that were accepted, and are said otherwise."""
    base, other = VERSIONS[version], {**FINDING, "place": "a place before"}
    lists: dict[str, tuple[str, list[Json]]] = {
        "empty": ("Absent where there are none.", []),
        "unsorted": ("A set is sorted.", [FINDING, other]),
        "twice": ("A set has each once.", [FINDING, FINDING]),
        "unsorted-by-file": ("A set is sorted.", [FINDING, {**FINDING, "file": "a.txt"}]),
        "a-reason": ("A keyed hash of it.", [{**FINDING, "reason": "It is a false alarm."}]),
        "a-day": ("No moment.", [{**FINDING, "accepted": "2026-01-31"}]),
    }
    if version == 1:
        lists = {"there": ("Version 1 has none.", [FINDING]), "empty": lists["empty"]}
    for name, (why, value) in lists.items():
        yield f"exceptions/{name}", why, changed(base, put(f"{P}.exceptions", value))


def times(version: int) -> Wholes:
    """Moments that are none, and deadlines that are said to have been met."""
    base = VERSIONS[version]

    def made(name: str, why: str, *changes: tuple[str, object]) -> tuple[str, str, Json]:
        return name, why, changed(base, *(put(f"{P}.{path}", value) for path, value in changes))

    for name, text in MOMENTS.items():
        due = [("request.due", text), ("deadline.due", text)]
        yield made(f"moment/{name}/request.due", "No moment.", *due)
    for name in ("month-13", "a-day", "nothing"):
        for field in ("received", "planned", "training", "published", "purged"):
            one = (f"times.{field}", MOMENTS[name])
            yield made(f"moment/{name}/times.{field}", "No moment.", one)
        one = ("request.received", MOMENTS[name])
        yield made(f"moment/{name}/request.received", "No moment.", one)
        later = [("request.extended", MOMENTS[name]), ("deadline.due", MOMENTS[name])]
        yield made(f"moment/{name}/request.extended", "No moment.", *later)
    due, after = base[P]["request"]["due"], "2026-03-01T00:00:00.000000Z"
    yield made("late-and-met", "It was late.", ("times.purged", after))
    yield made("on-time-and-not-met", "It was on time.", ("deadline.met", False))
    yield made("another-deadline", "Not that of the request.", ("deadline.due", after))
    yield made("extension-ignored", "The extension counts.", ("request.extended", after))
    longer = [("deadline.due", after), ("times.purged", after)]
    yield made("extension-invented", "There is none.", *longer)


def bad_statements() -> Iterator[Case]:
    for version in VERSIONS:
        for maker in (shapes, contents, exceptions, times):
            for name, why, whole in maker(version):
                yield Case(f"{version}/{name}", "statement", why, certificate(whole))
