"""A constituent has one form in bytes, and damaged bytes are named."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.models.learners.constituent import Constituent


def test_constituents_are_canonical() -> None:
    tensors: dict[str, NDArray[np.float32]] = {
        "b": np.ones((2, 2), np.float32),
        "a": np.zeros(3, np.float32),
    }
    one = Constituent(("x", "y"), tensors, {"b": 1, "a": {"d": 1, "c": 2}})
    other = Constituent(
        ("x", "y"), dict(reversed(tensors.items())), {"a": {"c": 2, "d": 1}, "b": 1}
    )
    turned = Constituent(("x", "y"), {**tensors, "b": np.ones((2, 2), np.float32).T}, one.about)
    assert one.to_bytes() == other.to_bytes() == turned.to_bytes()
    back = Constituent.from_bytes(one.to_bytes())
    assert (back.classes, back.about) == (one.classes, one.about)
    assert back.to_bytes() == one.to_bytes()


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"not safetensors at all", b"\xff" * 100])
def test_a_damaged_constituent(data: bytes) -> None:
    with pytest.raises(VerificationError, match="constituent cannot be read"):
        Constituent.from_bytes(data)
