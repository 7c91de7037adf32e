"""One record: a labelled picture of a person who may ask that it be forgotten.

A record's digest covers its id, its label and its encoded picture: what a constituent can learn
from. The subject and the split decide whom an erasure reaches and which side a record is on, and no
model sees them.
"""

from dataclasses import dataclass

from lmeraser_ray.storage.digests import digest


@dataclass(frozen=True, slots=True)
class Record:
    """A labelled picture. `image` holds the encoded file as it came; `test` records train
    nothing."""

    record_id: str
    subject_id: str
    label: str
    test: bool
    image: bytes

    def digest(self) -> bytes:
        """SHA-256 over id, label and encoded picture. Returns 32 bytes."""
        return digest("record", self.record_id.encode(), self.label.encode(), self.image)
