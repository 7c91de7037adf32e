"""Traces and the search for them: nothing is missed, wherever it lies."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeraser_ray.erasure.absence.pattern_search import MARGIN, PIECE, SHORTEST, Match, Search
from lmeraser_ray.erasure.absence.traces import DIFFERENT, LEAST, WINDOW, Traces, telling, window_of
from lmeraser_ray.errors import ExecutionError, VerificationError


def everywhere(data: bytes, patterns: list[bytes]) -> set[tuple[int, int]]:
    """Every occurrence, the slow way."""
    return {
        (i, at) for i, p in enumerate(patterns) for at in range(len(data)) if data.startswith(p, at)
    }


def found(matches: object) -> set[tuple[int, int]]:
    return {(match.pattern, match.at) for match in matches}  # type: ignore[attr-defined]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_occurrence_is_found(data: st.DataObject) -> None:
    """Of an alphabet so small that patterns overlap, repeat and contain each other."""
    alphabet = st.lists(st.sampled_from([b"a", b"b", b"\0"]), max_size=40).map(b"".join)
    patterns = data.draw(
        st.lists(
            alphabet.map(lambda p: (p * SHORTEST or b"a" * SHORTEST)[: max(SHORTEST, len(p))]),
            max_size=5,
            unique=True,
        )
    )
    texts = data.draw(
        st.lists(st.sampled_from([b"ab", b"aba", b"b", b"bb"]), max_size=3, unique=True)
    )
    parts = data.draw(
        st.lists(st.one_of(alphabet, st.sampled_from([*patterns, b"a"])), max_size=12)
    )
    whole = b"".join(parts)
    assert found(Search(patterns, texts).in_bytes(whole)) == everywhere(whole, [*patterns, *texts])


@pytest.mark.parametrize("size", [15, 16, 23, 32, 48, 64])
def test_a_pattern_is_found_at_every_offset(size: int) -> None:
    rng = np.random.default_rng(size)
    pattern = rng.bytes(size)
    for before in range(17):
        for after in range(9):
            data = rng.bytes(before) + pattern + rng.bytes(after)
            assert found(Search([rng.bytes(40), pattern], []).in_bytes(data)) == {(1, before)}


def test_a_short_binary_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="15 bytes"):
        list(Search([b"x" * 14], []).in_bytes(b"x" * 100))


def test_a_file_is_searched_across_its_pieces(tmp_path: Path) -> None:
    """Also where an occurrence lies on the border of two pieces; none is counted twice; texts come
    with what is around them."""
    rng = np.random.default_rng(0)
    window, text = rng.bytes(WINDOW), b"person-1/picture-7"
    data = bytearray(rng.bytes(2 * PIECE + 12345))
    places = [0, PIECE - 20, PIECE + MARGIN - 3, 2 * PIECE - 100, len(data) - WINDOW]
    names = [PIECE - 4000, 2 * PIECE - 9, 2 * PIECE + 50]
    for at in places:
        data[at : at + WINDOW] = window
    for at in names:
        data[at : at + len(text)] = text
    path = tmp_path / "file"
    path.write_bytes(data)
    matches = list(Search([window], [text]).in_file(path))
    assert sorted((match.pattern, match.at) for match in matches) == sorted(
        [*((0, at) for at in places), *((1, at) for at in names)]
    )
    for match in matches:
        if match.pattern == 1:
            assert match.before == data[match.at - 4096 : match.at]
            assert match.after == data[match.at + len(text) : match.at + len(text) + 4096]
    assert found(Search([window], [text]).in_file(path, texts=False)) == {(0, at) for at in places}


def test_a_read_may_be_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As reads of some file systems are."""
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda handle, views, at: read(handle, [views[0][:1000]], at))
    path = tmp_path / "file"
    path.write_bytes(bytes(300_000) + bytes(range(64)))
    assert found(Search([bytes(range(64))], []).in_file(path)) == {(0, 300_000)}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    wanted = Search([b"x" * 20], [])
    with pytest.raises(FileNotFoundError):
        list(wanted.in_file(tmp_path / "gone"))
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ExecutionError, match="link"):
        list(wanted.in_file(tmp_path / "link"))


def test_nothing_wanted_is_found_nowhere() -> None:
    assert list(Search([], []).in_bytes(b"anything at all")) == []
    assert list(Search([b"y" * 20], []).in_bytes(b"")) == []
    assert list(Search([], [b"all"]).in_bytes(b"anything at all")) == [
        Match(0, 12, b"anything at ", b"")
    ]


@given(st.binary(max_size=400))
def test_a_window_is_a_stretch_that_identifies(data: bytes) -> None:
    window = window_of(data)
    if window is None:
        assert len(data) < LEAST or len(set(data[:WINDOW])) < DIFFERENT
    else:
        assert window in data
        assert LEAST <= len(window) <= WINDOW
        assert len(window) == min(WINDOW, len(data))
        assert len(set(window)) >= DIFFERENT


def test_a_window_is_not_of_a_header_that_others_share_nor_of_a_margin() -> None:
    rng = np.random.default_rng(1)
    profile, own = bytes(range(250)) * 12, rng.bytes(3100)
    assert window_of(profile + own) in own
    assert window_of(profile[:500] + bytes(5000)) in profile  # the rest is black
    assert window_of(bytes(4000)) is None
    assert window_of(np.ones(1000, np.float32).tobytes()) is None


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=200),
    st.binary(max_size=200),
    st.binary(max_size=200),
)
def test_the_compact_form_is_small_and_whole(
    digest: bytes, picture: bytes, pixels: bytes, feature: bytes
) -> None:
    traces = Traces.of("a record", digest, picture=picture, pixels=pixels, feature=feature)
    data = traces.to_bytes()
    assert len(data) <= 180
    assert b"record" not in data or b"record" in digest + picture + pixels + feature
    assert Traces.from_bytes(data, "a record") == [traces]
    assert Traces.from_bytes(data * 3, "a record") == [traces] * 3


def test_a_damaged_compact_form_is_refused() -> None:
    data = Traces.of(
        "r", bytes(range(32)), picture=os.urandom(100), feature=os.urandom(100)
    ).to_bytes()
    for wrong in (b"", data[:-1], data + b"x", b"\x09" + data[1:], data[:33], data[:34]):
        with pytest.raises(VerificationError, match="restore it from a backup"):
            Traces.from_bytes(wrong, "r")


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *(
            (name, "no")
            for name in ("1", "cat", "000042", "digit", "20260501", "a1b2c3", "2026", "Ä")
        ),
        *((name, "apart") for name in ("margaret", "1234567890", "123-45-6789", "deadbeefcafe")),
        *(
            (name, "anywhere")
            for name in (
                "anna-1",
                "digit-0042",
                "person-3/picture-7",
                "f47ac10b58cc4372a5670e02",
                "李雷-1",
            )
        ),
    ],
)
def test_what_an_id_tells(name: str, how: str) -> None:
    assert telling(name) == how
