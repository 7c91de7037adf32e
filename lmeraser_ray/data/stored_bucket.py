"""What a manifest says of a bucket (`buckets`): which it is, and where its objects lie.

Apart from what reads and writes buckets, so that a command that only looks at the state loads
neither NumPy nor PyArrow.
"""

from dataclasses import dataclass

from lmeraser_ray.storage.store import StoredObject


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """A stored, non-empty bucket: its number, how many records it has, and its two objects."""

    number: int
    size: int
    records: StoredObject
    pictures: StoredObject

    @property
    def key(self) -> str:
        """The key that both objects share."""
        return self.records.key
