"""`python -m benchmarks.decoding`: the CPU time of decoding a picture with all checks, against
Pillow's own and against one more copy of its pixels. Seconds.

Sides: *checked*, `decode_picture`; *copied*, the same with a conversion to the mode that the
picture has, as releases before 0.8.0 made it; *pillow*, nothing but open and load. They alternate
in one run, in turned order every other round; figures are medians of CPU seconds.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks import machine
from lmeraser_ray.data.pictures import decode_picture

SIDES: dict[str, Callable[[bytes], object]] = {
    "checked": lambda image: decode_picture(image, max_pixels=1 << 30),
    "copied": lambda image: decode_picture(image, max_pixels=1 << 30).convert("RGB"),
    "pillow": lambda image: Image.open(io.BytesIO(image)).load(),
}


def photographs(count: int, width: int, height: int) -> list[bytes]:
    """JPEG files of smooth noise, which compresses as photographs do."""
    found = []
    for seed in range(count):
        coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3))
        sink = io.BytesIO()
        picture = Image.fromarray(coarse.astype(np.uint8)).resize((width, height))
        picture.save(sink, "JPEG", quality=90)
        found.append(sink.getvalue())
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.decoding", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--pictures", type=int, default=100, help="JPEG files of 640 x 480 (100)")
    parser.add_argument("--rounds", type=int, default=5, help="how often the sides alternate (5)")
    options = parser.parse_args()
    on, images = machine.describe(), photographs(options.pictures, 640, 480)
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for turn in range(-1, options.rounds):  # the first is not counted
        for name in list(SIDES)[:: 1 if turn % 2 == 0 else -1]:
            start = time.process_time()
            for image in images:
                SIDES[name](image)
            if turn >= 0:
                seconds[name].append(time.process_time() - start)
    each = {name: statistics.median(spent) / len(images) for name, spent in seconds.items()}
    machine.report(
        {
            "benchmark": "decoding",
            "pictures": len(images),
            "rounds": options.rounds,
            "cpu_ms_each": {name: round(1000 * spent, 3) for name, spent in each.items()},
            "copied_to_checked": round(each["copied"] / each["checked"], 3),
            "pillow_to_checked": round(each["pillow"] / each["checked"], 3),
            "machine": on,
        }
    )


if __name__ == "__main__":
    main()
