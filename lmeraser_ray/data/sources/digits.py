"""The source `digits`: the 1,797 handwritten digits, 8 x 8 pixels in 17 greys, that come with
scikit-learn. Needs no file."""

import functools
from collections.abc import Iterator

import numpy as np

from lmeraser_ray.data.sources.entry import SourceEntry
from lmeraser_ray.data.sources.png import stored_png


def digit_entries() -> Iterator[SourceEntry]:
    """`digit-0000` to `digit-1796`, labels `0` to `9`."""
    from sklearn.datasets import load_digits  # takes a second, which other sources do not need

    digits = load_digits()
    greys = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    for number, (pixels, target) in enumerate(zip(greys, digits.target, strict=True)):
        name = f"digit-{number:04d}"
        yield SourceEntry(
            name=name,
            label=str(target),
            subject=None,
            where=name,
            read=functools.partial(stored_png, pixels),
        )
