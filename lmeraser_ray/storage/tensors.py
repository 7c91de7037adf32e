"""Arrays in stored safetensors objects: read with the declared type and number of dimensions, or
refused.

Place in the flow: features, partitions, assignments and constituents are read here. Invariant: an
object that a backup brought, whose digest is right and whose content is not, ends in a
`VerificationError`.
"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.numpy import load

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.foreign_json import ForeignJson, Natural
from lmeraser_ray.storage.store import REPAIR, Store, StoredObject

LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, which is JSON."""
METADATA = "__metadata__"
Arrays = dict[str, NDArray[Any]]
Kinds = Mapping[str, tuple[str, int]]
"""Of each array that must be there: its dtype and its number of dimensions."""


class TensorJson(ForeignJson):
    """What the header says of one tensor. data_offsets: of its first byte and behind its last."""

    dtype: str
    shape: tuple[Natural, ...]
    data_offsets: tuple[Natural, Natural]


HEADER = TypeAdapter(dict[str, TensorJson | dict[str, str]])


def read_header(header: bytes) -> dict[str, TensorJson]:
    """The tensors that a header names. Errors: `ValueError` where it is no header."""
    read = HEADER.validate_json(header, strict=True)
    tensors = {name: about for name, about in read.items() if isinstance(about, TensorJson)}
    if read.keys() - tensors.keys() - {METADATA}:
        raise ValueError("a tensor without a shape")
    return tensors


def load_arrays(data: bytes) -> Arrays:
    """The arrays in a safetensors file. Errors: `ValueError` where it is none."""
    try:
        return dict(load(data))
    except (SafetensorError, LookupError, TypeError) as error:  # the latter: a dtype of no array
        raise ValueError(" ".join(str(error).split())) from error


def require_kinds(arrays: Arrays, kinds: Kinds) -> None:
    """Errors: `ValueError` where one is missing or of another kind."""
    for name, (dtype, dimensions) in kinds.items():
        array = arrays.get(name)
        if array is None or array.dtype != dtype or array.ndim != dimensions:
            raise ValueError(f"expected {name}, {dtype} in {dimensions} dimensions")


def read_arrays(store: Store, item: StoredObject, kinds: Kinds) -> Arrays:
    """The arrays of a stored object, which has those of `kinds`. Errors: `VerificationError`."""
    try:
        found = load_arrays(store.read(item))
        require_kinds(found, kinds)
    except ValueError as error:
        raise VerificationError(
            f"{item.name} is damaged: it does not hold the arrays that it should ({error}). "
            f"{REPAIR}"
        ) from error
    return found
