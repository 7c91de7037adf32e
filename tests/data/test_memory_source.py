"""The source `memory`: what a program holds is read as a Parquet file of the same rows is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.sources.check_source import check_source
from lmeraser_ray.data.sources.held_pictures import encoded
from lmeraser_ray.data.sources.memory import HeldRecords
from lmeraser_ray.data.sources.read_source import read_source
from lmeraser_ray.errors import ConfigError, DataError
from tests.support.sources import read

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), np.uint8)
LABELS = ["b", "a", "c", "a", "b", "b"]
NUMBERS = [1, 0, 2, 0, 1, 1]
CLASSES = ["a", "b", "c"]
IDS = [f"r{n}" for n in range(6)]
WHO = ["ann", "bo", "ann", "cy", "cy", "di"]
FILES = [encoded(one) for one in PIXELS]
TENSORS = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)


def config(**fields: object) -> DataConfig:
    return DataConfig.model_validate({"source": "memory", "test_fraction": 0.0, **fields})


def held(records: object, **fields: object) -> list[Record]:
    source = read_source(
        config(**fields), seed=0, skip=lambda _: False, held=HeldRecords.of(records)
    )
    return list(source)


def said(records: object, kind: type[Exception] = DataError, **fields: object) -> str:
    with pytest.raises(kind) as caught:
        held(records, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Pairs(Dataset):  # type: ignore[type-arg]
    """A data set of torch, with torchvision's `classes`."""

    def __init__(self, pictures: Any, labels: Any, classes: list[str] | None = None) -> None:
        self.pictures, self.labels = pictures, labels
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, at: int) -> tuple[object, object]:
        return self.pictures[at], self.labels[at]


def arrow() -> pa.Table:
    names = {"label": {"names": CLASSES, "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": names}})}
    return pa.table({"image": FILES, "label": NUMBERS}).replace_schema_metadata(about)


class Hub(list):  # type: ignore[type-arg]
    """Rows with Hugging Face's `features`, as its data sets give them."""

    class ClassLabel:
        names = CLASSES

    features = {"label": ClassLabel()}  # noqa: RUF012 - as it is there


WAYS: dict[str, Callable[[], object]] = {
    "frame of bytes": lambda: pd.DataFrame({"image": FILES, "label": LABELS}),
    "frame of arrays": lambda: pd.DataFrame({"image": list(PIXELS), "label": LABELS}),
    "frame of categories": lambda: pd.DataFrame(
        {"image": list(PIXELS), "label": pd.Categorical(LABELS)}
    ),
    "frame of PIL pictures": lambda: pd.DataFrame(
        {"image": [Image.fromarray(one) for one in PIXELS], "label": LABELS}
    ),
    "frame of RGBA": lambda: pd.DataFrame(
        {"image": [Image.fromarray(one).convert("RGBA") for one in PIXELS], "label": LABELS}
    ),
    "frame of structs": lambda: pd.DataFrame(
        {"image": [{"bytes": one, "path": None} for one in FILES], "label": LABELS}
    ),
    "Arrow": arrow,
    "columns of arrays": lambda: {"image": PIXELS, "label": np.array(LABELS)},
    "columns of tensors": lambda: {"image": TENSORS, "label": LABELS},
    "pairs of torch": lambda: Pairs(TENSORS, torch.tensor(NUMBERS), CLASSES),
    "pairs as ToTensor makes them": lambda: Pairs(TENSORS / 255, NUMBERS, CLASSES),
    "a part of pairs": lambda: Subset(Pairs(TENSORS, NUMBERS, CLASSES), list(range(6))),
    "list of pairs": lambda: list(zip(PIXELS, LABELS, strict=True)),
    "list of rows": lambda: [
        {"label": name, "image": one, "other": None}
        for one, name in zip(PIXELS, LABELS, strict=True)
    ],
    "rows of a hub": lambda: Hub(
        {"image": one, "label": n} for one, n in zip(FILES, NUMBERS, strict=True)
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_equal_content_is_equal_records_whatever_holds_it(tmp_path: Path, way: str) -> None:
    """The records of a Parquet file, whose ids are made of their content: the bytes too, then."""
    pq.write_table(pa.table({"image": FILES, "label": LABELS}), tmp_path / "a.parquet")
    known = read(DataConfig(source="parquet", path=tmp_path / "a.parquet", test_fraction=0.0))
    assert held(WAYS[way]()) == known


def test_paths_are_the_files_as_they_are(tmp_path: Path) -> None:
    paths = []
    for number, one in enumerate(PIXELS):
        paths.append(tmp_path / f"{number}.jpg")
        Image.fromarray(one).save(paths[-1])
    frame = pd.DataFrame({"image": [*paths[:3], *map(str, paths[3:])], "label": LABELS})
    assert [record.image for record in held(frame)] == [path.read_bytes() for path in paths]
    paths[4].unlink()
    assert said(frame).startswith(f"the records in memory, row 4: {paths[4]}: the file cannot be")


def test_columns_are_those_of_the_configuration(tmp_path: Path) -> None:
    columns = {"png": FILES, "kind": NUMBERS, "name": IDS, "who": WHO}
    named = {"label_column": "kind", "image_column": "png", "id_column": "name"}
    fields: dict[str, Any] = {**named, "subject_column": "who", "test_fraction": 0.3}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    known = read(DataConfig(source="parquet", path=tmp_path / "a.parquet", **fields))
    for records in (pd.DataFrame(columns), columns, pa.table(columns)):
        assert held(records, **fields) == known
    assert {record.record_id for record in known} == set(IDS)


def test_ids_are_given_or_made_of_the_content() -> None:
    given = {"image": FILES, "label": LABELS, "record_id": IDS}
    assert [record.record_id for record in held(given)] == IDS
    made = held(given, ids="content")
    assert all(record.record_id.startswith("sha256-") for record in made)
    twice = held({"image": FILES[:1] * 2, "label": LABELS[:1] * 2})
    assert twice[1].record_id == f"{twice[0].record_id}-2"
    assert "data.ids content" in said({**given, "record_id": ["one", *IDS[:4], "one"]})


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("test", [False, False, True, True, False, True]),
        ("test", np.array([False, False, True, True, False, True])),
        ("split", ["train", "Train", "test", "test", "training", "test"]),
    ],
)
def test_what_is_held_out_is_as_a_file_of_its_own(
    tmp_path: Path, column: str, values: object
) -> None:
    """The ids, too: without the name of the split before them they would be those of others."""
    columns = {"image": FILES, "label": LABELS, "record_id": IDS}
    for name, rows in (("a", [0, 1, 4]), ("b", [2, 3, 5])):
        part = {key: [held_ones[n] for n in rows] for key, held_ones in columns.items()}
        pq.write_table(pa.table(part), tmp_path / f"{name}.parquet")
    known = read(
        DataConfig(source="parquet", path=tmp_path / "a.parquet", test_path=tmp_path / "b.parquet")
    )
    assert [record.record_id for record in known if record.test] == [
        "test/r2",
        "test/r3",
        "test/r5",
    ]
    assert held({**columns, column: values}) == known
    rows = [
        dict(zip((*columns, column), row, strict=True))
        for row in zip(*columns.values(), values, strict=True)  # type: ignore[call-overload]
    ]
    assert held(rows) == known


def test_a_column_says_who_is_permanent() -> None:
    who = {"image": FILES, "label": LABELS, "who": WHO, "stays": [name == "ann" for name in WHO]}
    named = {"subject_column": "who", "permanent_column": "stays"}
    assert {r.subject_id: r.permanent for r in held(pd.DataFrame(who), **named)} == {
        "ann": True, "bo": False, "cy": False, "di": False,
    }  # fmt: skip
    wrong = {**who, "stays": ["maybe", *[False] * 5], "who": IDS}
    assert "'stays' has 'maybe', expected true or false" in said(wrong, **named)
    assert "set data.permanent_column" in said({**who, "stay": LABELS}, permanent_column="stay_")


def test_splits_that_cannot_be_meant() -> None:
    columns = {"image": FILES, "label": LABELS}
    flags = [True, False] * 3
    assert "row 1: the column 'split', which says what is held out, has 'tset'" in said(
        {**columns, "split": ["train", "tset"] * 3}
    )
    assert "row 0: the column 'test', which says what is held out, has '1'" in said(
        {**columns, "test": [1, 0] * 3}
    )
    assert "row 5" in said({**columns, "split": [*["train"] * 5, None]})
    assert "both say" in said({**columns, "test": flags, "split": ["train"] * 6})
    both = {**columns, "who": ["ann", *"abcd", "ann"], "test": flags}
    assert "'ann' has records in the training and in the test split" in said(
        both, subject_column="who"
    )
    everything_trains = held({**columns, "split": ["train"] * 6}, test_fraction=0.0)
    assert everything_trains == held(columns)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (None, "the label in column 'label' is null"),
        (float("nan"), "the label in column 'label' is null"),
        (pd.NA, "the label in column 'label' is null"),
        (1.0, "the label is float, expected text or a whole number"),
        (True, "the label is bool"),
        (np.array([0, 1]), "the label is ndarray"),
        (-1, "the label is -1"),
        ("", "the label '' is empty"),
    ],
)
def test_labels_that_cannot_be_used(label: object, words: str) -> None:
    labels = [*LABELS[:3], label, *LABELS[4:]]
    assert f"the records in memory, row 3: {words}" in said({"image": FILES, "label": labels})
    left = held({"image": FILES, "label": labels}, on_error="skip")
    assert [record.image for record in left] == FILES[:3] + FILES[4:]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "the picture in column 'image' is null"),
        (float("nan"), "the picture in column 'image' is null"),
        (b"no picture", "is not a picture"),
        (7, "int is no picture"),
        (PIXELS[0].astype(np.int64), "the numbers are int64"),
        (PIXELS[0].astype(np.float32), "the numbers run from"),
        (PIXELS[0].transpose(2, 0, 1), "the array's shape is [3, 5, 7]"),
        (PIXELS[0][:, 0, 0], "the array's shape is [5]"),
        (Image.fromarray(PIXELS[0]).convert("CMYK"), "of mode CMYK"),
        ({"bytes": None, "path": "x.png"}, "only a path, 'x.png', not followed"),
    ],
)
@pytest.mark.parametrize("ids", ["given", "content"])
def test_pictures_that_cannot_be_used(image: object, words: str, ids: str) -> None:
    columns = {"image": [*FILES[:2], image], "label": LABELS[:3], "record_id": IDS[:3]}
    message = said(columns, ids=ids)
    assert message.startswith("the records in memory, row 2: ") and words in message
    assert [r.image for r in held(columns, ids=ids, on_error="skip")] == FILES[:2]


def test_rows_that_are_none() -> None:
    pairs = [(FILES[0], "a"), (FILES[1], "a", "more"), FILES[2]]
    with pytest.raises(DataError) as caught:
        held(pairs)  # all at once
    assert "row 1: it is a tuple of 3, expected a pair" in str(caught.value)
    assert "row 2: it is a bytes, expected a pair" in str(caught.value)
    assert "row 0: it is a tuple of 1" in said(TensorDataset(TENSORS[:1]))
    assert "row 0: it is a ndarray" in said(PIXELS[:1])
    rows = [{"image": FILES[0], "label": "a"}, {"image": FILES[1]}]
    assert "row 1: no column 'label' among image" in said(rows)


def test_what_a_data_set_raises_is_said_with_the_row() -> None:
    class Broken(Pairs):
        def __getitem__(self, at: int) -> tuple[object, object]:
            if at == 2:
                raise FileNotFoundError("no 2.png")
            return super().__getitem__(at)

    data = Broken(PIXELS, LABELS)
    assert "row 2: the data set does not give it (no 2.png)" in said(data)
    assert len(held(data, on_error="skip")) == 5


def test_columns_that_are_not_there() -> None:
    frame = pd.DataFrame({"image": FILES, "Label": LABELS})
    message = said(frame)
    assert "no column 'label' among image, Label; the nearest name is 'Label'" in message
    assert "data.id_column, label_column or image_column" in message
    twice = pd.DataFrame(list(zip(FILES, LABELS, LABELS, strict=True)))
    twice.columns = pd.Index(["image", "label", "label"])
    assert "2 columns are called 'label'" in said(twice)
    assert "unequal lengths ('image' 6, 'label' 5)" in said({"image": FILES, "label": LABELS[:5]})
    assert "pairs of picture and label have no further columns" in said(
        Pairs(PIXELS, LABELS), subject_column="who"
    )
    assert "no records at all" in said([])


@pytest.mark.parametrize(
    "records",
    [
        "pictures",
        b"pictures",
        Path("a.parquet"),
        Image.fromarray(PIXELS[0]),
        7,
        iter([(FILES[0], "a")]),
        {(FILES[0], "a")},
        torch.utils.data.DataLoader(Pairs(TENSORS, NUMBERS)),
        {"image": FILES, "label": "abcabc"},
        {"image": b"abcabc", "label": LABELS},
        {"image": (one for one in FILES), "label": LABELS},
    ],
    ids=lambda records: type(records).__name__,
)
def test_what_holds_no_records(records: object) -> None:
    """A text would pass for its letters; what can be read once cannot be checked first."""
    with pytest.raises(TypeError, match="is a bare"):
        HeldRecords.of(records)


def test_without_the_program_there_is_one_sentence() -> None:
    for asked in (lambda: read(config()), lambda: check_source(config(), whole=True)):
        with pytest.raises(ConfigError, match="train from that program, or write the records"):
            asked()
    with pytest.raises(ValueError, match=r"data\.path goes with"):
        DataConfig(source="memory", path=Path("a"))
