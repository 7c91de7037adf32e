"""The classes' names that data hubs keep in a Parquet file's metadata.

    {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}

Place in the flow: while a Parquet file's columns are checked. Invariants: a label is a function of
its row and the file's own metadata; -1 is no class but the sign that a row has none.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, JsonValue

from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.errors import DataError, PictureError
from lmeraser_ray.storage.foreign_json import ForeignJson

KEY = b"huggingface"
METADATA_BYTES = 1 << 24
UNLABELLED = -1


class _FeaturesJson(ForeignJson):
    model_config = ConfigDict(extra="ignore")
    features: dict[str, JsonValue] | None = None


class _HubJson(ForeignJson):
    model_config = ConfigDict(extra="ignore")
    info: _FeaturesJson | None = None


@dataclass(frozen=True, slots=True)
class ClassNames:
    """The names of a column's classes by number; none where the file gives none."""

    names: tuple[str, ...] = ()

    @classmethod
    def read(cls, schema: Any, column: str, where: str) -> "ClassNames":
        """Take them from a Parquet file's schema. Errors: `DataError`."""
        data = (schema.metadata or {}).get(KEY)
        if data is None:
            return cls()
        try:
            info = _HubJson.read(data[:METADATA_BYTES]).info
        except ValueError as error:
            raise DataError(
                f"{where}: the metadata `huggingface` cannot be read ({error}): write the file "
                "anew without them."
            ) from error
        feature = (info.features or {}).get(column) if info else None
        names = feature.get("names") if isinstance(feature, dict) else None
        if not isinstance(names, list):
            return cls()
        what, place = "label", f"{where}, metadata"
        return cls(tuple(clean_name(name, what=what, where=place) for name in names))

    def label(self, value: object, where: str) -> str:
        """The label of a cell. Errors: `PictureError` for a row without one, and for a number that
        has no name."""
        if isinstance(value, int) and value == UNLABELLED:
            raise PictureError(
                f"{where}: the label is -1, which says that the row has none: give it one, or "
                "leave it out (a class may be called -1 as text)."
            )
        if not self.names or not isinstance(value, int):
            return clean_name(value, what="label", where=where)
        if not 0 <= value < len(self.names):
            raise PictureError(
                f"{where}: the label is {value}, and {len(self.names)} classes are named, from 0 "
                "on: correct it."
            )
        return self.names[value]
