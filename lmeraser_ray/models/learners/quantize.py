"""Features as integers, and exact products of them: what the closed-form learners stand on.

Float sums depend on their order, so that taking a record away again leaves other bits than never
having had it. Integer sums do not. Hence features are rounded to int16 multiples of a quantum,
within ±32,767, and everything is summed over these.

Exactness: NumPy multiplies integer matrices slowly, so products are done by float64 BLAS. With |a|,
|b| ≤ 2^15 every product is at most 2^30 in size, so every partial sum of up to 2^23 of them is an
integer of at most 2^53 in size, which float64 holds exactly. No addition rounds: the result is the
true integer whatever the order, the blocks, the threads or fused multiply-adds.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmeraser_ray.config import ClosedFormConfig
from lmeraser_ray.errors import ConfigError

Normalization = Literal["none", "layer", "l2"]
QUANTA: dict[Normalization, float] = {"none": 2.0**-8, "layer": 2.0**-10, "l2": 2.0**-15}
"""By the readout's normalisation: features up to 128 in size, up to 32, and up to 1."""
LIMIT = 32767
"""Symmetric, unlike int16, so that |value| ≤ 2^15 - 1; a value at the limit is taken as
saturated."""
SATURATED_SHARE = 0.01
"""How much of one record's features may saturate."""
EXACT_TERMS = 2**23
"""Products of two int16 that float64 adds up without rounding; see above."""
BLOCK = 4096
"""Rows that are float64 at a time."""

Integers = NDArray[np.int16]


def quantum_of(config: ClosedFormConfig, normalize: Normalization) -> float:
    """The step of the features' grid in feature units: the configured one, or the default for the
    readout's normalisation."""
    return QUANTA[normalize] if config.quantum is None else config.quantum


def check_quantum(quantum: float, normalize: Normalization, dimension: int) -> None:
    """Refuse a quantum that suits no feature of this normalisation. Features are d = `dimension`
    numbers; l2: root mean square 1/√d, each at most 1; layer: 1, each at most √d; none: unknown.

    Errors: `ConfigError` where every number would be rounded to 0, or where the root mean square
    itself is beyond the limit.
    """
    if normalize == "none":
        return
    largest, mean = (1.0, dimension**-0.5) if normalize == "l2" else (dimension**0.5, 1.0)
    if quantum >= 2 * largest:
        fault = f"so that every number, at most {largest:.6g} in size, is rounded to 0"
    elif quantum * LIMIT < mean:
        fault = f"which holds ±{LIMIT * quantum:.6g}, less than their root mean square {mean:.6g}"
    else:
        return
    raise ConfigError(
        f"learner.quantum is {quantum:.6g}, but backbone.readout.normalize is {normalize}, "
        f"{fault}: leave it out (null), or set {QUANTA[normalize]:.6g}."
    )


def quantize(features: NDArray[np.float32], *, quantum: float) -> Integers:
    """Features as multiples of `quantum`, ties to even, saturating at ±32,767. features: [n, d]
    float32 → [n, d] int16.

    Errors: `ConfigError` where a feature is not finite.
    """
    if not np.isfinite(features).all():
        raise ConfigError(
            "The backbone gave a feature that is not finite: check backbone.weights, or choose "
            "another backbone.readout."
        )
    return clip(features.astype(np.float64) / quantum)


def clip(values: NDArray[np.float64]) -> Integers:
    """The nearest int16 of each value, ties to even, within ±32,767. The shape stays."""
    return np.clip(np.rint(values), -LIMIT, LIMIT).astype(np.int16)


def saturated(integers: Integers) -> NDArray[np.float64]:
    """The share of each row that lies at the limit. integers: [n, d] int16 → [n] float64."""
    share: NDArray[np.float64] = (np.abs(integers) >= LIMIT).mean(axis=1)
    return share


def quantize_shard(features: NDArray[np.float32], *, quantum: float) -> Integers:
    """`quantize` for training. Errors: `ConfigError` where more than 1% of one record's features
    saturate.

    By record and not by shard: then every part of an accepted set is accepted too, and no deletion
    can turn a training that worked into one that is refused.
    """
    integers = quantize(features, quantum=quantum)
    worst = float(saturated(integers).max(initial=0.0))
    if worst > SATURATED_SHARE:
        largest = float(np.abs(features).max())
        raise ConfigError(
            f"{worst:.1%} of a record's features are beyond ±{LIMIT * quantum:.6g}, the largest "
            f"that learner.quantum {quantum:.6g} holds (at most {SATURATED_SHARE:.0%} may be; the "
            f"largest is {largest:.6g}): set learner.quantum to {fitting(largest):.6g}."
        )
    return integers


def fitting(largest: float) -> float:
    """The smallest power of two that holds a feature of this size."""
    return float(2.0 ** np.ceil(np.log2(largest / (LIMIT - 1))))


def doubles(integers: Integers) -> Tensor:
    """The same values as float64, exact, for BLAS."""
    return torch.from_numpy(integers.astype(np.float64))


def products(left: Integers, right: Integers) -> NDArray[np.float64]:
    """All inner products of two sets of rows, exact integers in float64. left: [n, d], right: [m,
    d], both int16, d at most `EXACT_TERMS` → [n, m] float64."""
    found = np.empty((len(left), len(right)))
    for column in range(0, len(right), BLOCK):
        columns = doubles(right[column : column + BLOCK]).T
        for row in range(0, len(left), BLOCK):
            found[row : row + BLOCK, column : column + BLOCK] = (
                doubles(left[row : row + BLOCK]) @ columns
            ).numpy()
    return found


def squared_norms(integers: Integers) -> NDArray[np.int64]:
    """|x|² of each row, exact. integers: [n, d] int16 → [n] int64."""
    found = [
        np.square(integers[at : at + BLOCK].astype(np.int64)).sum(axis=1)
        for at in range(0, len(integers), BLOCK)
    ]
    return np.concatenate(found) if found else np.zeros(0, np.int64)
