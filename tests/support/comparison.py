"""What the tests of comparisons ask."""

from typing import Any

from lmeraser_ray.study.compare import CompareRequest
from lmeraser_ray.study.measure import Extent
from lmeraser_ray.study.variants import variants
from tests.support.world import TINY, World

SMALL = [
    ("partition.shards", "4"),
    ("learner.epochs", "2"),
    ("learner.batch", "8"),
    ("learner.prompt.width", "2"),
]


def question(
    world: World,
    names: list[str],
    *,
    extent: Extent | None = None,
    vary: tuple[str, ...] = (),
    **options: Any,
) -> CompareRequest:
    base = {
        **{name: TINY[name] for name in ("backbone", "execution")},
        "data": {**TINY["data"], "path": str(world.path)},
    }
    found = variants(base, names, SMALL, vary)
    return CompareRequest(found, options.pop("seeds", [0]), extent or Extent(1, 3), **options)
