"""`predict`: labels of pictures that are not stored, with probabilities and the shards that
answered."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmeraser_ray.data.feature_file import Features
from lmeraser_ray.data.reader import Pixels, pixel_hashes, prepare
from lmeraser_ray.errors import DataError, PictureError
from lmeraser_ray.models.aggregation.routes import Predictions, Queries, combine, route
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.pipeline.answering import require_an_answer, serving_of
from lmeraser_ray.pipeline.jobs import Worker
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import Published


@dataclass(frozen=True)
class Predicting:
    """Predictions, and the state that made them, of the shards that may answer."""

    manifest: Manifest
    predictions: Predictions


def predict(session: Session, images: Sequence[bytes | Path]) -> Predicting:
    """Predict encoded pictures or picture files, in this process.

    Errors: `DataError` that names the file or the position of a picture that cannot be used.
    """
    return session.consistently(lambda state: predict_by(session, state, images))


def predict_by(session: Session, state: Published, images: Sequence[bytes | Path]) -> Predicting:
    """Predict by one published state."""
    folder = session.folder
    require_an_answer(folder, state)
    manifest = state.answering
    config = session.config()
    worker = Worker(folder.store, config, make_learner(config), manifest.backbone)
    max_pixels = config.data.max_pixels
    with session.progress.stage("read"):
        pixels = np.stack(
            [load(image, at, manifest, max_pixels) for at, image in enumerate(images)]
        )
    with session.progress.stage("answer"):
        batch = manifest.backbone.batch

        @functools.cache  # only computed where the aggregation or the learner needs features
        def features() -> Features:
            return np.concatenate(
                [
                    worker.backbone.features(pixels[at : at + batch])
                    for at in range(0, len(pixels), batch)
                ]
            )

        queries = Queries(len(pixels), features, lambda: pixel_hashes(pixels))
        routes = route(
            config.aggregation, queries, serving_of(folder.store, manifest), seed=config.seed
        )
        asked = routes.queries()
        seen = features() if worker.learner.needs == "features" else pixels
        read = {
            shard: Constituent.from_bytes(folder.store.read(manifest.shards[shard].constituent))
            for shard in asked
        }
        answers = {
            shard: worker.answer(read[shard], seen[found], shard) for shard, found in asked.items()
        }
    return Predicting(manifest, combine(routes, asked, answers))


def load(image: bytes | Path, at: int, manifest: Manifest, max_pixels: int) -> Pixels:
    """Read one picture as pixels [3, s, s] uint8. Errors: `DataError` that names the picture."""
    where = str(image) if isinstance(image, Path) else f"picture {at}"
    try:
        return prepare(
            image.read_bytes() if isinstance(image, Path) else image,
            manifest.backbone.spec,
            max_pixels,
        )
    except OSError as error:
        raise DataError(
            f"{where} cannot be read ({error.strerror or error}): give the path of a picture file."
        ) from error
    except PictureError as error:
        raise DataError(f"{where}: {error}") from error
