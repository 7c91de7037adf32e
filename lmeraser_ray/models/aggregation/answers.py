"""What a shard answers its queries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """A constituent's answers to queries. probabilities: [m, c] float32, columns as `classes`; rows
    as the job's."""

    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
