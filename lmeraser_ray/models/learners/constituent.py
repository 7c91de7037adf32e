"""A constituent: the result of training one shard, frozen, with its canonical bytes.

Invariants: its classes are those of the shard's own records, so it is a function of nothing else;
`to_bytes` is canonical (safetensors with one metadata key: with more, the order of keys varies from
run to run).
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import canonical_json

METADATA = "lmeraser_ray"


@dataclass(frozen=True)
class Constituent:
    """A trained shard model. `classes`: its c labels, sorted; `tensors`: the learner's arrays;
    `about`: provenance, JSON."""

    classes: tuple[str, ...]
    tensors: dict[str, NDArray[Any]]
    about: dict[str, Any]

    def to_bytes(self) -> bytes:
        """The canonical safetensors file."""
        text = canonical_json({"classes": list(self.classes), "about": self.about}).decode()
        return bytes(
            save(
                {name: np.ascontiguousarray(t) for name, t in sorted(self.tensors.items())},
                metadata={METADATA: text},
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Constituent":
        """Read what `to_bytes` wrote. Errors: `VerificationError` on anything else."""
        try:
            length = int.from_bytes(data[:8], "little")
            text = json.loads(data[8 : 8 + length])["__metadata__"][METADATA]
            read = json.loads(text)
            return cls(tuple(read["classes"]), load(data), read["about"])
        except Exception as error:
            raise VerificationError(
                f"a constituent cannot be read ({error}): run `lmeraser verify`."
            ) from error
