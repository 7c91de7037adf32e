"""Prototypes from public pictures: no private record moves one, so no deletion ever re-clusters.

public pictures → sample (smallest keyed hashes of their names) → features → clusters → prototypes,
which are an input as the weights are
"""

import hashlib

import numpy as np

from lmeraser_ray.config import Config, PublicConfig
from lmeraser_ray.data.reader import prepare
from lmeraser_ray.data.sources.public_pictures import public_pictures
from lmeraser_ray.errors import ConfigError, DataError, PictureError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.partition.adaptive import Clusters, fit_clusters, sample_order
from lmeraser_ray.models.partition.stage import partition_key, put_clusters
from lmeraser_ray.storage.store import Store, StoredObject


def public_prototypes(
    whole: Config,
    config: PublicConfig,
    backbone: Backbone,
    store: Store,
    *,
    expected: StoredObject | None,
) -> StoredObject:
    """Cluster the sampled public pictures in this process, or find what was made of the same ones.

    Errors: `DataError` names a picture; `ConfigError` where `expected` was made from other
    pictures, before anything is written.
    """
    if config.path is None:
        raise ConfigError(
            "partition.path is missing: give the folder or Parquet file of the public pictures."
        )
    names = [
        picture.name for picture in public_pictures(config.path)
    ]  # twice through, so that no picture but the sampled is held
    rank = {
        names[i]: place
        for place, i in enumerate(sample_order(whole.seed, names, config.sample_size))
    }
    sample = sorted(
        (picture for picture in public_pictures(config.path) if picture.name in rank),
        key=lambda picture: rank[picture.name],
    )
    images = [picture.read() for picture in sample]
    digests = np.frombuffer(
        b"".join(hashlib.sha256(image).digest() for image in images), np.uint8
    ).reshape(-1, 32)
    key = partition_key(config, backbone.identity, digests)
    if expected and expected.key != key:
        raise ConfigError(
            "The workspace was trained with prototypes from other public pictures than those at "
            "partition.path: use the same ones, or another --workspace."
        )
    known = store.listing().get(("partitions", key))
    if known and store.sound(known):
        return known
    pixels = []
    for picture, image in zip(sample, images, strict=True):
        try:
            pixels.append(prepare(image, backbone.spec, whole.data.max_pixels))
        except PictureError as error:
            raise DataError(f"{picture.where}: {error}") from error
    batch = backbone.batch
    features = [
        backbone.features(np.stack(pixels[at : at + batch])) for at in range(0, len(pixels), batch)
    ]
    clusters = fit_clusters(np.concatenate(features).astype(np.float64), config)
    return put_clusters(
        store, key, Clusters(clusters.prototypes, np.empty(0, np.int32))
    )  # no record was sampled
