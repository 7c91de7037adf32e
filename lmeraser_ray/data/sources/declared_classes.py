"""The classes that a source declares, whether or not a record has them: class folders, and the
names in Parquet metadata.

Place in the flow: beside the stream, for a report. Invariant: no picture is read."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lmeraser_ray.config.data import DataConfig
from lmeraser_ray.data.sources.class_names import ClassNames
from lmeraser_ray.data.sources.layout import SplitPart, folder_parts, parquet_parts
from lmeraser_ray.data.sources.picture_metadata import picture_metadata
from lmeraser_ray.errors import DataError


def declared_classes(config: DataConfig) -> set[str]:
    """The names of the classes; none where a source declares none, or cannot be read."""
    if config.path is None:
        return set()
    try:
        if config.source == "parquet":
            return _of_parquet(parquet_parts(config.path), config.label_column)
        return _of_folders(folder_parts(config.path)) if config.source == "folder" else set()
    except (DataError, pa.ArrowException, OSError):
        return set()


def _of_parquet(parts: list[SplitPart], column: str) -> set[str]:
    schemas = [pq.read_schema(file) for part in parts for file in part.paths]
    return {name for schema in schemas for name in ClassNames.read(schema, column, "").names}


def _of_folders(parts: list[SplitPart]) -> set[str]:
    folders = [folder for part in parts for folder in part.paths]
    return {name for folder in folders for name in _class_folders(folder)}


def _class_folders(folder: Path) -> list[str]:
    if picture_metadata(folder) or picture_metadata(folder.parent):
        return []
    return [
        item.name for item in folder.iterdir() if item.is_dir() and not item.name.startswith(".")
    ]
