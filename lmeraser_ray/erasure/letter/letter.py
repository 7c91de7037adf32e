"""A certificate as a letter that a person understands, before it is drawn as a page.

    Certificate (checked) ──► letter_of ──► Letter ──► letter_html.py, letter_pdf.py

Invariant: the letter says what the signed statement says, and nothing else; so it is made of a
certificate only whose signature was checked. It names nobody: the statement has keyed hashes.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY
from lmeraser_ray.erasure.absence.told_scan import ScanJson, read_scan, tested_only
from lmeraser_ray.erasure.certificate.statement import Statement
from lmeraser_ray.erasure.certificate.verifier import Certificate
from lmeraser_ray.erasure.circumstances import Circumstances
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.times import from_text

TITLE = "Confirmation of erasure"


@dataclass(frozen=True)
class LetterPart:
    """A part of a letter: a heading, paragraphs, then a list of points. small: what most readers
    pass over."""

    heading: str
    paragraphs: tuple[str, ...]
    points: tuple[str, ...] = ()
    small: bool = False


@dataclass(frozen=True)
class Letter:
    """What a letter says. moment: when the erasure was done; facts: lines of a name and a text
    below the title."""

    title: str
    moment: datetime
    facts: tuple[tuple[str, str], ...]
    parts: tuple[LetterPart, ...]


def letter_of(found: Certificate) -> Letter:
    """Return the letter of a certificate. Errors: `VerificationError` where its signature was not
    checked."""
    if not found.checked:
        raise VerificationError(
            f"A letter says only what is signed, and the public key {found.keyid} is not at hand "
            "to check the signature: give the folder that has it by --keys."
        )
    said = found.statement
    scan = read_scan(said.scan)
    parts = (erased_part(said), models_part(said, scan), search_part(said, scan))
    last = (limits_part(said), places_part(said, scan), proof_part(found))
    there = tuple(part for part in (*parts, *last) if part.paragraphs or part.points)
    return Letter(TITLE, from_text(said.times.purged), tuple(facts_of(said)), there)


def facts_of(said: Statement) -> Iterator[tuple[str, str]]:
    """Yield the dates of an erasure."""
    yield "Request", said.request.id
    yield "Received", in_words(said.request.received)
    more = ", after it had been extended" if said.request.extended else ""
    yield "To be done by", f"{in_words(said.deadline.due)}{more}"
    met = "within the deadline" if said.deadline.met else "AFTER the deadline"
    yield "Done", f"{in_words(said.times.purged)}, {met}"


def erased_part(said: Statement) -> LetterPart:
    """Return what the request named, and what was erased."""
    kinds = Counter[str](target.what for target in said.erased.targets)
    named = [
        number_of(kinds[what], name)
        for what, name in (("subject", "person"), ("record", "record"))
        if kinds[what]
    ]
    outcomes = Counter(target.outcome for target in said.erased.targets)
    count = len(said.erased.records)
    lines = [f"The request named {' and '.join(named)}."] if named else []
    lines.append(
        f"{number_of(count, 'record')} {was(count)} erased: the picture, its label, and all that "
        "was computed from it."
        if count
        else "There was no record left to erase."
    )
    if outcomes["already"]:
        lines.append(
            f"{outcomes['already']:,} of what was named had been erased before, for an earlier "
            "request."
        )
    if outcomes["unknown"]:
        lines.append(f"{outcomes['unknown']:,} of what was named was not held.")
    return LetterPart("What was erased", (" ".join(lines),))


def models_part(said: Statement, scan: ScanJson | None) -> LetterPart:
    """Return what became of the models that may have learned from the records."""
    return LetterPart("What this means for the models", tuple(about_models(said, scan)))


def about_models(said: Statement, scan: ScanJson | None) -> Iterator[str]:
    """Yield a paragraph for each thing that a statement says of the models."""
    count, rebuilt = len(said.erased.records), len(said.constituents.rebuilt)
    tested = scan.test_records if scan and scan.test_records is not None else 0
    if not count:
        return
    if tested_only(said.scan, count):
        yield (
            "The erased records were used for testing only. No model was trained on them, so none "
            "had to be trained again."
        )
        return
    if tested:
        yield f"{number_of(tested, 'erased record')} {was(tested)} used for testing only."
    if rebuilt:
        kept = said.constituents.reused
        yield (
            f"{number_of(rebuilt, 'model')} {was(rebuilt)} trained again without the erased "
            f"records. {number_of(kept, 'model')} {was(kept)} kept: none of these was trained on "
            "them."
        )
    else:
        yield "No model had to be trained again: none that answers now was trained on them."
    if said.reclustered:
        yield (
            "How the records are divided among the models was computed again without the erased "
            "records."
        )
    if said.choice and said.choice.seen:
        yield (
            "The settings of the training had been chosen by a search that looked at "
            f"{said.choice.seen:,} of {number_of(said.choice.of, 'erased record')}."
        )


def search_part(said: Statement, scan: ScanJson | None) -> LetterPart:
    """Return how the erasure was checked, and what was found."""
    files = said.purged.files
    removed = f"{number_of(files, 'file')} that the new state does not need {was(files)} removed."
    if scan is None:
        return LetterPart("How it was checked", (removed,))
    looked = sum(one.files for one in scan.searched)
    where = (
        f"Then {number_of(looked, 'file')} in {number_of(len(scan.searched), 'place')} "
        f"{was(looked)} searched for what is left of the erased records."
    )
    ending = "Nothing was found." if not scan.found else f"Found: {number_of(scan.found, 'trace')}."
    if said.exceptions:
        ending += " An operator accepted, for a reason of their own, that the following stays:"
    points = tuple(
        f"{one.trace} in {one.place} ({one.file}), accepted {in_words(one.accepted)}"
        for one in said.exceptions
    )
    return LetterPart("How it was checked", (f"{removed} {where} {ending}",), points)


def limits_part(said: Statement) -> LetterPart:
    """Return what the erasure cannot reach."""
    return LetterPart(
        "What this erasure does not reach", (), (*said.transient, *said.backups), small=True
    )


def places_part(said: Statement, scan: ScanJson | None) -> LetterPart:
    """Return the places that were not searched. Certificates of earlier releases list those too
    that a workspace of this kind does not have."""
    where = Circumstances(said.execution.engine, said.execution.database, True, True)
    foreign = {place.name for place in DATA_INVENTORY if not where.holds(place.only)}
    listed = tuple(
        f"{one.place}: {one.because}"
        for one in (scan.not_searched if scan else ())
        if one.place not in foreign
    )
    return LetterPart("Places that were not searched", (), listed, small=True)


def proof_part(found: Certificate) -> LetterPart:
    """Return how the letter is checked."""
    code = found.statement.code
    return LetterPart(
        "How to check this letter",
        (
            "This letter repeats a signed certificate. Whoever is given the certificate and the "
            "public key can check it with the command below, or with any program that follows the "
            "published format. The certificate names nobody: it has keyed hashes.",
        ),
        (
            f"Certificate: SHA-256 {found.sha256}",
            f"Signed with the key {found.keyid}",
            f"Erased by lmeraser_ray {code.version}, code SHA-256 {code.sha256}",
            "lmeraser verify --certificate CERTIFICATE.json --public_key KEY.pem",
        ),
        small=True,
    )


def number_of(number: int, what: str) -> str:
    """Return a number with its noun: `1 person`, `2 people`, `3 records`."""
    several = "people" if what == "person" else f"{what}s"
    return f"{number:,} {what if number == 1 else several}"


def was(number: int) -> str:
    """Return the verb of so many."""
    return "was" if number == 1 else "were"


def in_words(moment: str) -> str:
    """Return a moment of a statement, such as `5 May 2026, 12:30 UTC`."""
    at = from_text(moment)
    return f"{at.day} {MONTHS[at.month - 1]} {at.year}, {at:%H:%M} UTC"


MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
"""By their names in English, whatever the locale."""
