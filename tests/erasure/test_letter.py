"""A certificate as a letter: what it says of each kind of erasure, and nothing that is unsigned."""

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lmeraser_ray.erasure.certificate.dsse import Signed, SigningKey, sign
from lmeraser_ray.erasure.certificate.statement import (
    AcceptedFinding,
    ConstituentChange,
    ErasedHashes,
    ErasedTarget,
    Statement,
    statement_of,
)
from lmeraser_ray.erasure.certificate.verifier import Certificate
from lmeraser_ray.erasure.letter.letter import Letter, letter_of
from lmeraser_ray.erasure.letter.letter_html import html_of
from lmeraser_ray.erasure.letter.letter_pdf import pdf_of
from lmeraser_ray.errors import VerificationError
from tests.support.statements import SCAN, STATEMENT, digit

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
NOTHING_BUILT = ConstituentChange((), 20, digit("5"))


def certificate(statement: Statement = STATEMENT, *, checked: bool = True) -> Certificate:
    envelope = sign(statement_of(statement), KEY)
    return Certificate(envelope, Signed.from_bytes(envelope), statement, checked)


def text_of(statement: Statement) -> str:
    """All words of the letter, in one line."""
    letter = letter_of(certificate(statement))
    lines = [letter.title, *(f"{name}: {text}" for name, text in letter.facts)]
    for part in letter.parts:
        lines += [part.heading, *part.paragraphs, *part.points]
    return "\n".join(lines)


def only_tested(count: int, **more: Any) -> Statement:
    """A statement whose scan says how many records only tested."""
    return replace(STATEMENT, scan={**SCAN, "test_records": count}, **more)


def test_what_was_erased_and_when() -> None:
    text = text_of(STATEMENT)
    for words in (
        "Request: er-20260131-0123456789abcdef",
        "Received: 31 January 2026, 12:00 UTC",
        "To be done by: 28 February 2026, 12:00 UTC",
        "within the deadline",
        "The request named 1 person and 1 record.",
        "2 records were erased",
        "1 of what was named had been erased before",
        "2 models were trained again without the erased records. 18 models were kept",
        "41 files in 2 places were searched for what is left of the erased records. Nothing",
        "code SHA-256",
        certificate().sha256,
        KEY.keyid,
    ):
        assert words in text, words
    for hashed in (digit("a"), digit("b"), digit("c")):
        assert hashed not in text


def test_a_test_record_was_used_for_testing_only() -> None:
    text = text_of(only_tested(2, constituents=NOTHING_BUILT, passes=0))
    assert "used for testing only. No model was trained on them" in text
    assert "0 models" not in text and "trained again without" not in text


def test_some_of_them_only_only_tested() -> None:
    text = text_of(only_tested(1))
    assert "1 erased record was used for testing only." in text
    assert "2 models were trained again" in text


@pytest.mark.parametrize("statement", [STATEMENT, only_tested(0), only_tested(1)])
def test_where_nothing_was_trained_no_more_is_said(statement: Statement) -> None:
    """A shard may have gone with its only record: it was not used for testing only."""
    text = text_of(replace(statement, constituents=NOTHING_BUILT, passes=0))
    assert "No model had to be trained again" in text
    assert "No model was trained on them" not in text


def test_where_no_record_was_left_nothing_is_said_of_models() -> None:
    named = (ErasedTarget("record", digit("a"), "already"),)
    text = text_of(only_tested(0, erased=ErasedHashes(named, ())))
    assert "There was no record left to erase" in text
    assert "models" not in text.replace("reports and exported models", "")


def test_a_late_one_and_an_accepted_finding() -> None:
    finding = AcceptedFinding("logs", "id", "a<b>.log", "2026-02-01T12:00:00.000000Z", digit("e"))
    late = replace(
        STATEMENT,
        times=replace(STATEMENT.times, purged="2026-03-01T00:00:00.000000Z"),
        exceptions=(finding,),
        scan={**SCAN, "found": 1},
    )
    text = text_of(late)
    assert "1 March 2026, 00:00 UTC, AFTER the deadline" in text
    assert "Found: 1 trace. An operator accepted" in text and "Nothing was found" not in text
    assert "id in logs (a<b>.log), accepted 1 February 2026, 12:00 UTC" in text
    assert b"a&lt;b&gt;.log" in html_of(letter_of(certificate(late)))


def test_what_an_engine_does_not_have_is_not_listed() -> None:
    """Certificates of earlier releases list Ray's folder where Ray never ran."""
    place = {"place": "Ray's session folder", "because": "Searched where."}
    old = replace(STATEMENT, scan={**SCAN, "not_searched": [place]})
    assert "session folder" not in text_of(old)
    ray = replace(old, execution=replace(old.execution, engine="ray"))
    assert "session folder" in text_of(ray)


def test_a_scan_of_another_form_is_no_error() -> None:
    text = text_of(replace(STATEMENT, scan={"searched": 7}))
    assert "7 files that the new state does not need were removed." in text
    assert "found" not in text.lower()


def test_what_is_not_checked_is_no_letter() -> None:
    with pytest.raises(VerificationError, match="--keys"):
        letter_of(certificate(checked=False))


class Outside(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag for name, _ in attrs if name in ("src", "href", "srcset")]
        self.found += [tag] if tag in ("script", "link", "iframe") else []


def letter() -> Letter:
    return letter_of(certificate())


def test_the_page_is_by_itself() -> None:
    page = html_of(letter()).decode()
    seen = Outside()
    seen.feed(page)
    assert seen.found == []
    assert "url(" not in page and "@import" not in page
    assert page == html_of(letter()).decode()


def test_the_file_is_a_pdf_of_the_same_bytes_each_time() -> None:
    data = pdf_of(letter())
    assert data.startswith(b"%PDF-") and data == pdf_of(letter())
    assert data.count(b"/FontFile2") == 2, "the fonts are inside"
