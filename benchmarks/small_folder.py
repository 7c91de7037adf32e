"""`python -m benchmarks.small_folder PICTURES`: a small set as people have it, 240 pictures of two
digits as PICTURES/class/file, to measure what suits few records:

    lmeraser compare --config configs/folder.yaml --data.path PICTURES --systems ridge,lmeraser
"""

import argparse
from collections import Counter
from pathlib import Path

from lmeraser_ray.data.sources.digits import digit_entries


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.small_folder", description=__doc__.splitlines()[0]
    )
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--classes", default="3,8", help="digits, with a comma between (3,8)")
    parser.add_argument("--each", type=int, default=120, help="pictures of each (120)")
    options = parser.parse_args()
    write(options.pictures, options.classes.split(","), options.each)


def write(pictures: Path, classes: list[str], each: int) -> None:
    """Write the first `each` digits of each class below `pictures`."""
    written: Counter[str] = Counter()
    for entry in digit_entries():
        if entry.label in classes and written[entry.label] < each:
            written[entry.label] += 1
            path = pictures / entry.label / f"{entry.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.read())


if __name__ == "__main__":
    main()
