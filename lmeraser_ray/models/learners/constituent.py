"""A constituent: the result of training one shard, frozen, with its canonical bytes.

Invariants: its classes are those of the shard's own records, so it is a function of nothing else;
`to_bytes` is canonical (safetensors with one metadata key: with more, the order of keys varies from
run to run).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json
from safetensors.numpy import save

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.foreign_json import ForeignJson, JsonObject
from lmeraser_ray.storage.tensors import LENGTH_BYTES, load_arrays
from lmeraser_ray.storage.tensors import METADATA as HEADER_METADATA

METADATA = "lmeraser_ray"


class MetadataJson(ForeignJson):
    """What the file says of itself."""

    classes: tuple[str, ...]
    about: JsonObject


@dataclass(frozen=True)
class Constituent:
    """A trained shard model. `classes`: its c labels, sorted; `tensors`: the learner's arrays;
    `about`: provenance, JSON."""

    classes: tuple[str, ...]
    tensors: dict[str, NDArray[Any]]
    about: dict[str, Any]

    def to_bytes(self) -> bytes:
        """The canonical safetensors file."""
        return pack_labelled(self.classes, self.tensors, self.about)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Constituent":
        """Read what `to_bytes` wrote. Errors: `VerificationError` on anything else."""
        try:
            return cls(*read_labelled(data))
        except ValueError as error:
            raise VerificationError(
                f"a constituent cannot be read ({error}): run `lmeraser verify`."
            ) from error


def pack_labelled(
    classes: tuple[str, ...], tensors: Mapping[str, NDArray[Any]], about: Mapping[str, Any]
) -> bytes:
    """The canonical safetensors file of arrays whose rows are of these classes."""
    text = canonical_json({"classes": list(classes), "about": dict(about)}).decode()
    return bytes(
        save(
            {name: np.ascontiguousarray(t) for name, t in sorted(tensors.items())},
            metadata={METADATA: text},
        )
    )


def read_labelled(data: bytes) -> tuple[tuple[str, ...], dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `pack_labelled` wrote. Errors: `ValueError` on anything else."""
    try:
        length = int.from_bytes(data[:LENGTH_BYTES], "little")
        header = from_json(data[LENGTH_BYTES : LENGTH_BYTES + length])
        read = MetadataJson.read(header[HEADER_METADATA][METADATA])
    except (LookupError, TypeError) as error:
        raise ValueError("no classes") from error
    return read.classes, load_arrays(data), read.about
