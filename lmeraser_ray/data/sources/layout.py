"""How a data set lies in a folder: its root, and the splits that its files or folders are named by.

    PATH/data/train-00000-of-00002.parquet, PATH/data/test-00000-of-00001.parquet   (data hubs)
    PATH/train/class/file, PATH/test/class/file                                     (image folders)

Place in the flow: before a source's entries. Invariants: only names are looked at; what is held out
by its name never trains; where names do not say which files train, the folder is refused and no
file is guessed.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from lmeraser_ray.data.sources.entry import place
from lmeraser_ray.errors import DataError

TRAIN = "train"
_SPLITS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_FILE = re.compile(r"([a-z]+)(?:[-_.\d].*)?")
"""A split's name, and what may stand behind it in a file's name."""
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}")
"""How data hubs name the files of a split, of whatever name."""
BESIDE = re.compile(r"(readme|license|licence|notice)(\..*)?|dataset_infos\.json|.*\.md", re.I)
"""Files that may lie in the root of a data set."""
METADATA = ("metadata.csv", "metadata.jsonl")
"""Files that say the labels of the pictures beside and below them."""


@dataclass(frozen=True, slots=True)
class SplitPart:
    """A split: its name (`train`, `validation`, `test`, or empty where the data set has none), and
    its Parquet files, or its one folder of pictures."""

    split: str
    paths: tuple[Path, ...]


def source_of(path: Path) -> str:
    """The source that reads what lies at a path: `parquet` or `folder`."""
    return "parquet" if path.is_file() or (path.is_dir() and _parquet(path)) else "folder"


def known_split(name: str) -> str | None:
    """The usual name of a split that is called so; None where none is."""
    return _SPLITS.get(name.strip().lower())


def files_within(folder: Path) -> list[Path]:
    """The folder's *.parquet files, hidden ones left out, in the order of their names."""
    return sorted(
        file
        for file in folder.glob("*.parquet")
        if file.is_file() and not file.name.startswith(".")
    )


def parquet_parts(path: Path) -> list[SplitPart]:
    """The splits of a Parquet file, a folder of them or the root of a data set, training first.
    Errors: `DataError` where there is no file, or where a file is of no known split."""
    if path.is_file():
        return [SplitPart("", (path,))]
    if not path.is_dir():
        raise DataError(
            f"{place(path)}: does not exist, expected a Parquet file or a folder of them: correct "
            "data.path or data.test_path."
        )
    found = _parquet(path)
    if not found:
        raise DataError(
            f"{place(path)}: the folder holds no *.parquet file: correct data.path, or rename the "
            "files."
        )
    return _by_split(path, found)


def folder_parts(root: Path) -> list[SplitPart]:
    """The splits of a folder of pictures, training first: one without a name, unless all folders in
    it are named by splits and hold folders or a file of metadata."""
    if not root.is_dir():
        return [SplitPart("", (root,))]  # the source says what it is instead
    folders, others = _contents(root)
    if [folder.name for folder in folders] == ["data"] and not others:
        return folder_parts(folders[0])
    splits = {folder: _SPLITS.get(folder.name.lower()) for folder in folders}
    if None in splits.values() or TRAIN not in splits.values() or not _without_classes(others):
        return [SplitPart("", (root,))]
    if not all(_is_split(folder) or _has_metadata(root) for folder in folders):
        return [SplitPart("", (root,))]
    return _ordered([(str(split), folder) for folder, split in splits.items()])


def _without_classes(others: list[Path]) -> bool:
    return all(other.name in METADATA for other in others)


def _has_metadata(folder: Path) -> bool:
    return any((folder / name).is_file() for name in METADATA)


def _is_split(folder: Path) -> bool:
    """Whether a folder holds classes or metadata, so that it is no class itself."""
    return _has_metadata(folder) or bool(_contents(folder)[0])


def _contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders in a folder and what else is there, but hidden names and a data set's texts."""
    found = [item for item in sorted(folder.iterdir()) if not item.name.startswith(".")]
    folders = [item for item in found if item.is_dir() and not item.is_symlink()]
    others = [item for item in found if item not in folders and not BESIDE.fullmatch(item.name)]
    return folders, others


def _parquet(path: Path) -> list[tuple[str | None, Path]]:
    """The Parquet files of a data set with the splits of their names, from the folder itself, its
    `data`, its folders named by splits, or the one other folder that has some."""
    if files := files_within(path):
        return [(split_of(file.stem), file) for file in files]
    folders, _ = _contents(path)
    of_splits = [
        (_SPLITS.get(folder.name.lower()), file)
        for folder in folders
        for file in files_within(folder)
    ]
    if of_splits and all(split for split, _ in of_splits):
        return of_splits
    below = {folder: found for folder in folders if (found := _parquet(folder))}
    if len(below) > 1 and path / "data" not in below:
        names = ", ".join(folder.name for folder in below)
        raise DataError(
            f"{place(path)}: several folders hold Parquet files ({names[:300]}), each a data set: "
            "give data.path one of them."
        )
    return below.get(path / "data") or next(iter(below.values()), [])


def split_of(stem: str) -> str | None:
    """The split of a file's name without its ending: a known one by its usual name, a hub's other
    one as it is, None where the name says none."""
    found = _FILE.fullmatch(stem.lower())
    if found and found[1] in _SPLITS:
        return _SPLITS[found[1]]
    shard = _SHARD.fullmatch(stem)
    return shard[1] if shard else None


def _by_split(path: Path, found: list[tuple[str | None, Path]]) -> list[SplitPart]:
    """Files by split; one part without a name where nothing is held out by its name."""
    named = {split for split, _ in found}
    if TRAIN not in named or named == {TRAIN}:
        return [SplitPart("", tuple(sorted(file for _, file in found)))]
    unknown = sorted(file.name for split, file in found if split not in _SPLITS.values())
    if unknown:
        raise DataError(
            f"{place(path)}: beside a split named train there is {unknown[0]!r}, of which the name "
            "does not say whether it trains: give data.path and data.test_path folders of their "
            "own, or move it away."
        )
    return _ordered([(str(split), file) for split, file in found])


def _ordered(found: list[tuple[str, Path]]) -> list[SplitPart]:
    """The parts in the order train, validation, test, each with its paths sorted."""
    order = list(dict.fromkeys(_SPLITS.values()))
    return [
        SplitPart(split, tuple(sorted(path for name, path in found if name == split)))
        for split in order
        if any(name == split for name, _ in found)
    ]
