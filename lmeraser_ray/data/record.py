"""One record: a labelled picture of a person who may ask that it be forgotten.

    >>> one = Record("cat-1", "ann", "cat", False, b"...")
    >>> one.digest() == Record("cat-1", "bob", "cat", True, b"...").digest()
    True

A record's digest covers its id, its label and its encoded picture: all that a constituent can learn
from. The subject decides which records an erasure reaches, `test` whether a record trains,
`permanent` whether it may carry what others share; no model sees any of these.
"""

from dataclasses import dataclass

from lmeraser_ray.storage.digests import digest


@dataclass(frozen=True, slots=True)
class Record:
    """A labelled picture. subject_id: the person; test: held out, trains nothing; image: the
    encoded file, byte for byte as the source has it; permanent: its subject will in all likelihood
    stay."""

    record_id: str
    subject_id: str
    label: str
    test: bool
    image: bytes
    permanent: bool = False

    def digest(self) -> bytes:
        """SHA-256 over id, label and encoded picture. Returns 32 bytes."""
        return digest("record", self.record_id.encode(), self.label.encode(), self.image)
