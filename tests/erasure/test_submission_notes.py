"""What is noted at a submission stays with the request: without the names of the erased, whenever
they are erased."""

import pytest

from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.reasons import LONGEST_TYPED
from lmeraser_ray.erasure.requests.submission import SubmissionNotes
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.database import ledger
from tests.support.desk import Desk
from tests.support.request_steps import act
from tests.support.tombstones import add

BASIS = "GDPR art. 17(1)(b)"


def test_they_are_kept(desk: Desk) -> None:
    notes = SubmissionNotes(f" {BASIS} ", "identity card, seen on 2 May")
    made = desk.requests().submit(["a"], [], notes=notes)
    assert (made.legal_basis, made.identity) == (BASIS, "identity card, seen on 2 May")
    assert desk.requests().get(made.id) == made
    assert made.as_json()["legal_basis"] == BASIS
    with desk.open().read() as connection:
        [entry] = ledger.entries(connection, request=made.id)
    assert entry.facts["legal_basis"] == desk.names.hash("legal_basis", BASIS)
    assert BASIS not in entry.text


def test_without_any_nothing_is_noted(desk: Desk) -> None:
    made = desk.requests().submit(["a"], [])
    assert (made.legal_basis, made.identity) == (None, None)
    with desk.open().read() as connection:
        [entry] = ledger.entries(connection, request=made.id)
    assert not {"legal_basis", "identity"} & set(entry.facts)


def test_they_name_nobody(desk: Desk) -> None:
    """Neither whom the request names, nor who was erased before."""
    add(desk, desk.names.hash("subject", "bob"))
    notes = SubmissionNotes("Bob agreed before", "Ann Lee showed her card, no. 7/a")
    made = desk.requests().submit(["7/a"], ["ann lee"], notes=notes)
    assert (made.legal_basis, made.identity) == (
        "[name] agreed before",
        "[name] showed her card, no. [name]",
    )
    assert b"Ann Lee" not in desk.bytes()


def test_who_is_erased_later_is_taken_out(desk: Desk) -> None:
    made = desk.requests().submit(["a"], [], notes=SubmissionNotes(identity="as for carl"))
    other = desk.requests().submit([], ["carl"])
    act(desk, lambda conn: transitions.wipe_names(conn, [other.id]))
    assert desk.requests().get(made.id).identity == "as for [name]"


@pytest.mark.parametrize("text", ["", " ", "x" * (LONGEST_TYPED + 1)])
@pytest.mark.parametrize("note", ["legal_basis", "identity"])
def test_what_says_nothing_or_too_much_is_refused(lite: Desk, note: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"--{note}"):
        lite.requests().submit(["a"], [], notes=SubmissionNotes(**{note: text}))
    assert lite.count("requests") == 0


def test_the_longest_text_fits_into_a_statement(desk: Desk) -> None:
    """As many words as it may have, all different, under three versions of the secret."""
    words = [chr(0x4E00 + at) for at in range(LONGEST_TYPED // 2)]
    made = desk.requests().submit(["a"], [], notes=SubmissionNotes(" ".join(words)))
    assert made.legal_basis == " ".join(words)
    with pytest.raises(ConfigError, match="--reason has 1,001 characters"):
        desk.requests().cancel(made.id, "x" * (LONGEST_TYPED + 1))


def test_a_part_of_a_word_is_no_name(desk: Desk) -> None:
    """A text of which nothing is taken out is kept as it was typed, capitals included."""
    made = desk.requests().submit(["a"], ["Art"], notes=SubmissionNotes("GDPR Article 17"))
    assert made.legal_basis == "GDPR Article 17"
