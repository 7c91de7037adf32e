"""A typed reason is kept without the names of the erased, of whom only tombstones are left."""

import pytest

from lmeraser_ray.erasure.requests.reasons import kept_reason
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.database.pseudonyms import TargetKind
from tests.support.desk import Desk
from tests.support.tombstones import add


@pytest.mark.parametrize(
    ("name", "typed", "kept"),
    [
        ("bob", " Bob asked us ", "[name] asked us"),
        ("Ann Lee", "a call from Ann Lee today", "a call from [name] today"),
        ("de la Cruz y Soto Vega", "de la Cruz y Soto Vega", "[name]"),
        ("per.son-7", "their lawyer (per.son-7), twice", "their lawyer ([name]), twice"),
        ("a.b c/d", "“a.b c/d”!", "“[name]”!"),
        ("bob", "the bobsled stays", "the bobsled stays"),
        ("Bob", "The Bobsled stays, Bob", "The Bobsled stays, [name]"),
    ],
)
@pytest.mark.parametrize("what", ["record", "subject"])
def test_the_names_of_the_erased_are_taken_out(
    lite: Desk, what: TargetKind, name: str, typed: str, kept: str
) -> None:
    add(lite, lite.names.hash(what, name))
    with lite.open().read() as connection:
        assert kept_reason(connection, lite.names, typed) == kept


@pytest.mark.parametrize("typed", ["", " \n"])
def test_an_empty_reason_is_refused(lite: Desk, typed: str) -> None:
    with lite.open().read() as connection, pytest.raises(ConfigError, match="say why"):
        kept_reason(connection, lite.names, typed)


@pytest.mark.parametrize("wrong", ["\0", "\x1b", "\x7f", "\ud800"])
def test_a_character_that_no_text_has_is_refused(lite: Desk, wrong: str) -> None:
    """PostgreSQL keeps no NUL, and UTF-8 no half of a pair."""
    with lite.open().read() as connection:
        with pytest.raises(ConfigError, match=f"--reason holds the character U.{ord(wrong):04X}"):
            kept_reason(connection, lite.names, f"a legal{wrong}hold")
        assert kept_reason(connection, lite.names, "one\tline\r\nanother") == "one\tline\r\nanother"
