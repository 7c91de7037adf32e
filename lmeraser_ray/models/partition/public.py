"""Prototypes from public pictures: no private record moves one, so no deletion ever re-clusters.

    public pictures → sample (smallest keyed hashes of their names) → features → clusters
    → prototypes

Place in the flow: before any private record is read; prototypes are an input, as the weights are.
Invariant: they are a function of the pictures' names and bytes, the backbone, the partition's
configuration and the seed.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lmeraser_ray.config import Config, PublicConfig
from lmeraser_ray.data.feature_file import require_finite
from lmeraser_ray.data.reader import prepare
from lmeraser_ray.data.sources.entry import Picture
from lmeraser_ray.data.sources.public_pictures import public_pictures
from lmeraser_ray.errors import ConfigError, DataError, PictureError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.partition.adaptive import Clusters, Floats, fit_clusters, sample_order
from lmeraser_ray.models.partition.stage import partition_key, put_clusters
from lmeraser_ray.storage.digests import DIGEST_BYTES
from lmeraser_ray.storage.store import Store, StoredObject


def public_prototypes(
    whole: Config,
    config: PublicConfig,
    backbone: Backbone,
    store: Store,
    *,
    expected: StoredObject | None,
) -> StoredObject:
    """The stored prototypes of the public pictures at `config.path`: those that were made from the
    same pictures before, or new ones, clustered in this process.

    Errors: `DataError` that names a picture; `ConfigError` where `expected`, the prototypes of the
    published state, were made from other pictures, before anything is written.
    """
    if config.path is None:  # refused by the configuration's own validator
        raise ConfigError("partition.path is missing: give the folder of the public pictures.")
    sample = sampled_pictures(config.path, whole.seed, config.sample_size)
    images = [picture.read() for picture in sample]
    digests = b"".join(hashlib.sha256(image).digest() for image in images)
    key = partition_key(
        config, backbone.identity, np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES)
    )
    if expected and expected.key != key:
        raise ConfigError(
            "The workspace was trained with prototypes from other public pictures than those at "
            "partition.path: use the same ones, or another --workspace."
        )
    known = store.listing().get(("partitions", key))
    if known and store.sound(known):
        return known
    features = public_features(sample, images, backbone, whole.data.max_pixels)
    prototypes = fit_clusters(features, config).prototypes
    no_record_was_sampled = np.empty(0, np.int32)
    return put_clusters(store, key, Clusters(prototypes, no_record_was_sampled))


def sampled_pictures(path: Path, seed: int, size: int) -> list[Picture]:
    """The pictures with the `size` smallest keyed hashes of their names, smallest first. The folder
    is gone through twice, so that memory holds the names of all pictures and no other picture."""
    names = [picture.name for picture in public_pictures(path)]
    rank = {names[at]: place for place, at in enumerate(sample_order(seed, names, size))}
    sample = (picture for picture in public_pictures(path) if picture.name in rank)
    return sorted(sample, key=lambda picture: rank[picture.name])


def public_features(
    sample: Sequence[Picture], images: Sequence[bytes], backbone: Backbone, max_pixels: int
) -> Floats:
    """The features of encoded pictures, as records have them. Returns [s, d] float64. Errors:
    `DataError` that names the picture that cannot be decoded, or has no finite feature."""
    pixels = []
    for picture, image in zip(sample, images, strict=True):
        try:
            pixels.append(prepare(image, backbone.spec, max_pixels))
        except PictureError as error:
            raise DataError(f"{picture.where}: {error}") from error
    batches = range(0, len(pixels), backbone.batch)
    found = [backbone.features(np.stack(pixels[at : at + backbone.batch])) for at in batches]
    features = np.concatenate(found)
    require_finite(features, lambda rows: [sample[row].where for row in rows])
    return features.astype(np.float64)
