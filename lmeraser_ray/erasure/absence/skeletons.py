"""Skeletons: what files of a workspace say without any record: column names, tensor names, formats.

An id may be such a word (`record_id`, `data_offsets`). Bytes cannot tell then whether it is the
word or the id, so that only rows can.
"""

import json
from collections.abc import Iterator
from functools import cache

import numpy as np
from safetensors.numpy import save

from lmeraser_ray.config import Config
from lmeraser_ray.data.buckets import SCHEMA, packed, parquet_of
from lmeraser_ray.data.feature_file import CHECK, pack_features
from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.statistics import Statistics
from lmeraser_ray.models.learners.statistics_file import pack_statistics
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.storage.store import KINDS


@cache
def skeletons() -> bytes:
    """Return the bytes of each kind of object that holds rows or arrays, made without records."""
    nothing = np.zeros((0, 4), np.float32)
    arrays = {"prototypes": nothing, "sampled": np.zeros(0, np.int64)}
    return b"\n".join(
        (
            parquet_of(SCHEMA.empty_table()),
            packed(SCHEMA.empty_table()),
            pack_features(nothing, np.zeros((0, CHECK), np.uint8)),
            save(arrays),
            save({"shard": np.zeros(0, np.int32)}),
            Constituent((), {}, {}).to_bytes(),
            pack_statistics(Statistics.of(np.zeros((0, 1), np.int16), (), gram=True)),
        )
    )


def strings_in(value: object) -> Iterator[str]:
    """Yield the keys and the texts of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings_in(inner)


@cache
def own_words() -> frozenset[str]:
    """Return the names of a workspace's files and folders, and the words of a configuration."""
    names = [name for place in DATA_INVENTORY for name in place.where]
    return frozenset(
        (
            *names,
            *(name.rstrip("/") for name in names),
            *KINDS,
            *strings_in(Config.model_json_schema()),
        )
    )


def words_of(manifest: Manifest) -> set[str]:
    """Return what a workspace says without the erased: its own words, and those of the manifest,
    which is a function of the live records."""
    objects = {text for item in manifest.objects() for text in (item.key, item.sha256, item.name)}
    said = strings_in(json.loads(manifest.to_bytes()))
    return {*own_words(), manifest.fingerprint, *objects, *said}


def strings_of_header(head: bytes) -> set[str]:
    """Return what the header of a file of tensors says besides its classes: names, formats and how
    the tensors were made; nothing where it is no such header."""
    try:
        header = json.loads(head)
        metadata = header.pop("__metadata__", {})
        about = [{**json.loads(text), "classes": ["classes"]} for text in metadata.values()]
        return {"__metadata__", *metadata, *strings_in(header), *strings_in(about)}
    except (ValueError, TypeError, AttributeError):
        return set()
