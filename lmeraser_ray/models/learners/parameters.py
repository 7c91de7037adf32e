"""How many parameters a stored constituent has, from the shapes in the header of its file; the
tensors are not read.

A prompt's tensor is as large as the picture, but only the pixels on its mask are parameters. All
other tensors count whole: weights and biases, and for closed-form learners the statistics, records
or mapping that they keep.
"""

import math

from lmeraser_ray.config import LabelMappingConfig, PromptHeadConfig, SharedHeadConfig
from lmeraser_ray.config.learner import Learner
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.models.learners.prompt import prompt_mask
from lmeraser_ray.storage.store import REPAIR, Store, StoredObject
from lmeraser_ray.storage.tensors import LENGTH_BYTES, read_header


def count_parameters(store: Store, constituent: StoredObject, learner: Learner, size: int) -> int:
    """The parameters of a stored constituent of this learner, for pictures of `size` pixels.
    Errors: `VerificationError` on damage."""
    count = 0
    for name, shape in read_shapes(store, constituent).items():
        count += masked(shape, learner, size) if name == "prompt" else math.prod(shape)
    return count


def masked(shape: tuple[int, ...], learner: Learner, size: int) -> int:
    """The parameters of prompts [k, 3, h, w]: what lies on the mask."""
    if not isinstance(learner, PromptHeadConfig | SharedHeadConfig | LabelMappingConfig):
        raise TypeError(f"a {learner.kind} constituent has no prompt")
    return math.prod(shape[:2]) * int(prompt_mask(learner.prompt, size).sum())


def read_shapes(store: Store, item: StoredObject) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a safetensors object: two short reads. Errors:
    `VerificationError` on anything else."""
    (first,) = store.read_ranges(item, [0], [LENGTH_BYTES])
    length = int.from_bytes(first, "little")
    if len(first) < LENGTH_BYTES or length > store.path(item).stat().st_size:
        raise VerificationError(
            f"{item.name} is damaged: it does not begin as safetensors do. {REPAIR}"
        )
    (header,) = store.read_ranges(item, [LENGTH_BYTES], [length])
    try:
        return {name: about.shape for name, about in read_header(header).items()}
    except ValueError as error:
        raise VerificationError(
            f"{item.name} is damaged: its header cannot be read. {REPAIR}"
        ) from error
