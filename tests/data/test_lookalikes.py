"""Names that only look equal: invisible characters are refused wherever names come in, and what
Unicode normalisation makes one is said."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.data.lookalikes import difference, look, lookalikes, unseen
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.sources.read_source import read_source
from lmeraser_ray.errors import DataError
from tests.support.world import picture

HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u180b\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b"
    "\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\u206a\u206f\u2800"
    "\u3164\ufe00\ufe0f\ufeff\uffa0\ufff9\ufffb\U000e0001\U000e0061\U000e0100\U0001d173"
)
VISIBLE = (
    "café",
    "Zoë",
    "日本語",
    "שלום",
    "مرحبا",
    "a b",
    "a\u00a0b",
    "x\u0600",
    "ﬁona",
    "👪",
    "a-_.b",
)


@pytest.mark.parametrize("hidden", HIDDEN, ids=[f"{ord(each):X}" for each in HIDDEN])
def test_what_nobody_sees_is_refused_in_every_kind_of_name(hidden: str) -> None:
    for what in ("label", "record id", "subject id"):
        for name in (f"cat{hidden}", f"c{hidden}at", f"{hidden}cat"):
            with pytest.raises(DataError, match=f"U\\+{ord(hidden):04X}.*nobody sees"):
                clean_name(name, what=what, where="here")
    assert clean_name(f"c{hidden}at", what="subject", where="here", kept=True) == f"c{hidden}at"
    assert look(f"c{hidden}at") == "cat"


@pytest.mark.parametrize("name", VISIBLE)
def test_what_somebody_sees_is_accepted(name: str) -> None:
    assert unseen(name) == ""
    assert clean_name(name, what="label", where="here") == unicodedata.normalize("NFC", name)


def test_every_format_character_but_the_visible_ones_is_unseen() -> None:
    formats = {c for c in map(chr, range(0x110000)) if unicodedata.category(c) == "Cf"}
    seen = {c for c in formats if not unseen(c)}
    assert all("SIGN" in (n := unicodedata.name(c)) or "MARK" in n or "END" in n for c in seen)


def folder(path: Path, names: list[str]) -> DataConfig:
    for at, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(picture(at))
    return DataConfig(source="folder", path=path)


def parquet(path: Path, **columns: str) -> DataConfig:
    """Two records, of which the first has the given names."""
    first = {"record_id": "a", "subject_id": "p", "label": "cat"} | columns
    other = {"record_id": "b", "subject_id": "q", "label": "dog"}
    rows = {name: [first[name], other[name]] for name in first}
    pq.write_table(pa.table(rows | {"image": [picture(0), picture(1)]}), path / "r.parquet")
    return DataConfig(source="parquet", path=path / "r.parquet", subject_column="subject_id")


def listed(path: Path, text: str) -> DataConfig:
    (path / "s.csv").write_text(f"record_id,subject_id\n{text}\ndog/1.png,q\n")
    config = folder(path / "d", ["cat/1.png", "dog/1.png"])
    return config.model_copy(update={"subjects_file": path / "s.csv"})


SOURCES: dict[str, Callable[[Path], DataConfig]] = {
    "a class folder": lambda path: folder(path, ["cat/1.png", "cat\u200b/1.png"]),
    "a file": lambda path: folder(path, ["cat/1.png", "dog/1\u202egnp.png"]),
    "a label": lambda path: parquet(path, label="cat\u00ad"),
    "an id": lambda path: parquet(path, record_id="a\ufeff"),
    "a person": lambda path: parquet(path, subject_id="p\u2066"),
    "a person in a CSV file": lambda path: listed(path, "cat/1.png,p\u200d"),
    "an id in a CSV file": lambda path: listed(path, "cat/1\u200e.png,p"),
    "a person by a pattern": lambda path: folder(
        path, ["cat/p\u200c-1.png", "dog/q-1.png"]
    ).model_copy(update={"subject_pattern": r"/(.+)-"}),
}


def read(config: DataConfig) -> list[Record]:
    return list(read_source(config, seed=0, skip=lambda _: False))


@pytest.mark.parametrize("made", SOURCES.values(), ids=SOURCES)
def test_a_source_with_a_name_that_only_looks_equal_is_refused(
    made: Callable[[Path], DataConfig], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"U\+.*nobody sees"):
        read(made(tmp_path))


def test_composed_and_decomposed_forms_are_one_name(tmp_path: Path) -> None:
    one, two = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    records = read(folder(tmp_path, [f"{one}/1.png", f"{two}/2.png", "dog/1.png"]))
    assert {record.label for record in records} == {one, "dog"}


def test_names_that_look_alike_are_found_and_no_others() -> None:
    names = ["cat", "Cat", "c\uff41t", "dog", "ﬁona", "fiona", "a b", "a\u00a0b", "cat\u200b"]
    groups = {tuple(sorted(group)) for group in lookalikes(names)}
    assert groups == {("cat", "cat\u200b", "c\uff41t"), ("fiona", "ﬁona"), ("a b", "a\u00a0b")}
    assert difference("cat", "cat\u200b") == "U+200B ZERO WIDTH SPACE"
    assert lookalikes(["cat", "dog"]) == []
