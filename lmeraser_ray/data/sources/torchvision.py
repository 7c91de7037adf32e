"""The sources `cifar10`, `cifar100`, `svhn` and `gtsrb`, read by torchvision from its own layout
below a root folder.

Invariants: the splits are their authors'; a record's name is its place in torchvision's order, so a
data set that is not whole is refused, CIFAR and SVHN by torchvision's own checksums (before
anything is unpickled), GTSRB by the number of its pictures and classes. Memory holds the raw pixels
of one split of CIFAR or SVHN, never its encoded pictures; of GTSRB, the paths.
"""

import functools
import http.client
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lmeraser_ray.config.data import DataConfig
from lmeraser_ray.data.sources.entry import SourceEntry, place
from lmeraser_ray.data.sources.folder import read_file
from lmeraser_ray.data.sources.png import stored_png
from lmeraser_ray.errors import DataError

GTSRB_PICTURES = {"train": 26_640, "test": 12_630}
"""In GTSRB's two splits as torchvision downloads them; it compares the archives' checksums then,
and nothing later."""
GTSRB_CLASSES = 43
DAMAGES = (
    RuntimeError,  # torchvision: not found, or a wrong checksum
    OSError,  # no such file, no permission, no network (URLError)
    ValueError,  # scipy: no .mat file; a class number that is none; text that is not UTF-8
    LookupError,  # a key or a column that is missing
    TypeError,  # a line of a CSV file that is too short
    EOFError,
    pickle.PickleError,
    http.client.HTTPException,
    tarfile.TarError,
    zipfile.BadZipFile,
)
"""What torchvision raises for files that are not as they should be, and for a network that is not
there."""


@dataclass(frozen=True, slots=True)
class _Split:
    """A split as torchvision has read it. `picture(i)` encodes or reads the picture of `labels[i]`;
    `where(i)` names its place."""

    labels: list[str]
    picture: Callable[[int], bytes]
    where: Callable[[int], str]


def torchvision_entries(config: DataConfig, *, test: bool) -> Iterator[SourceEntry]:
    """One split of the source that the configuration names: names `000000`, `000001`, and so on, in
    torchvision's order.

    Labels are the names of the classes (CIFAR), digits (SVHN) or the classes' numbers in two digits
    (GTSRB). Pictures are PNG files with the pixels uncompressed (32 x 32 RGB), or GTSRB's own PPM
    files. Raises `DataError` naming the root: missing, damaged, or not to be fetched.
    """
    name = "test" if test else "train"
    where = f"{place(config.path or '')} ({config.source}, {name})"
    try:
        split = _read_split(config, name, where)
    except DAMAGES as error:
        raise DataError(_explained(error, where, download=config.download)) from error
    for number, label in enumerate(split.labels):
        read = functools.partial(split.picture, number)
        yield SourceEntry(
            name=f"{number:06d}", label=label, subject=None, where=split.where(number), read=read
        )


def _read_split(config: DataConfig, name: str, where: str) -> _Split:
    from torchvision import datasets  # takes seconds, which other sources do not need

    root, download = config.path, config.download
    if config.source == "gtsrb":
        found = datasets.GTSRB(root, split=name, download=download)
        return _gtsrb(found, GTSRB_PICTURES[name], where)
    if config.source == "svhn":
        found = datasets.SVHN(root, split=name, download=download)
        labels = [str(int(label)) for label in found.labels]
        pixels = found.data.transpose(0, 2, 3, 1)
    else:
        kind = datasets.CIFAR10 if config.source == "cifar10" else datasets.CIFAR100
        found = kind(root, train=name == "train", download=download)
        labels = [str(found.classes[target]) for target in found.targets]
        pixels = found.data
    return _Split(
        labels,
        lambda number: stored_png(pixels[number]),
        lambda number: f"{where}, picture {number}",
    )


def _gtsrb(found: Any, expected: int, where: str) -> _Split:
    """GTSRB's own files. Raises `DataError` where some are missing, by which all names after them
    would move."""
    classes = {int(target) for _, target in found._samples}
    if len(found._samples) != expected or classes != set(range(GTSRB_CLASSES)):
        raise DataError(
            f"{where}: {len(found._samples):,} pictures of {len(classes)} classes, expected "
            f"{expected:,} of {GTSRB_CLASSES}: remove the folder gtsrb within and set "
            "data.download true, or extract the archives again."
        )
    paths = [str(path) for path, _ in found._samples]
    labels = [f"{int(target):02d}" for _, target in found._samples]
    return _Split(
        labels, lambda number: read_file(paths[number]), lambda number: place(paths[number])
    )


def _explained(error: Exception, where: str, *, download: bool) -> str:
    # torchvision's second sentence is advice for Python programmers.
    reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")[:300] or type(error).__name__
    if download:
        return (
            f"{where}: torchvision could not fetch or read the files ({reason}): check the "
            "network and what lies there from an earlier attempt, or put the files there by hand."
        )
    return (
        f"{where}: torchvision could not read the files ({reason}): correct data.path, or set "
        "data.download true to fetch them."
    )
