"""Learned prompts: what each shard's prompt adds to a picture's pixels.

Place in the flow: read from stored constituents, for figures and the report.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.pipeline.manifest import Manifest, ShardState
from lmeraser_ray.storage.store import Store


@dataclass(frozen=True)
class Prompt:
    """One shard's prompt: its name and what it adds to the pixels [3, h, w] float32, in units of a
    pixel's 0 to 255."""

    label: str
    change: NDArray[np.float32]


def in_pixels(prompt: NDArray[np.float32], std: tuple[float, float, float]) -> NDArray[np.float32]:
    """A prompt [3, h, w], which is added to (x / 255 - mean) / std, as what it adds to x."""
    return (prompt * np.array(std, np.float32)[:, None, None] * 255).astype(np.float32)


def scale_of(prompts: Sequence[Prompt]) -> float:
    """The largest change of some prompts, at least one; 1 where none changes anything."""
    return max(float(np.abs(prompt.change).max()) for prompt in prompts) or 1.0


def around_grey(change: NDArray[np.float32], scale: float) -> NDArray[np.uint8]:
    """[3, h, w] from -scale to scale as [h, w, 3] uint8; 0 is 128."""
    level: NDArray[np.float32] = np.rint(127.5 + 127.5 * change.transpose(1, 2, 0) / scale + 1e-3)
    found: NDArray[np.uint8] = np.clip(level, 0, 255).astype(np.uint8)
    return found


def largest(manifest: Manifest, count: int) -> list[int]:
    """Return the places of the largest shards, the largest first, ties in their order; in a blend
    those of the first system."""
    sizes = [shard.size for shard in manifest.only(0).shards]
    return sorted(range(len(sizes)), key=lambda place: (-sizes[place], place))[:count]


def learned_prompts(
    store: Store, config: Config, manifest: Manifest, count: int
) -> list[Prompt] | str:
    """Return the prompts of the largest shards that have several classes, `count` at most, at least
    one; a shard of one class learns no prompt. Where there is none: why, in words."""
    joint, std = make_learner(config).joint, manifest.backbone.spec.std
    found: list[Prompt] = []
    for place in largest(manifest, len(manifest.shards)):
        constituent = Constituent.from_bytes(store.read(manifest.shards[place].constituent))
        tensor = constituent.tensors.get("prompt")
        if tensor is None or tensor.size == 0:
            return f"a {config.learner.kind} constituent has no prompt"
        if len(constituent.classes) > 1:
            change = in_pixels(tensor[place if joint else 0], std)
            found.append(Prompt(name_of(manifest.shards[place]), change))
        if len(found) == count:
            break
    return found or "every shard has a single class, so that no prompt was learned"


def name_of(shard: ShardState) -> str:
    """Return a shard's number and its number of records: `shard 3 · 57`."""
    return f"shard {shard.number} · {shard.size:,}"
