"""Gather the traces of records before they leave: what the absence scan will look for."""

from collections.abc import Container, Iterator, Sequence

import numpy as np

from lmeraser_ray.data.buckets import columns, read_pictures, read_rows
from lmeraser_ray.data.feature_file import read_features
from lmeraser_ray.data.reader import prepare
from lmeraser_ray.erasure.absence.traces import Traces
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState


def gather_traces(
    current: PublishedState, positions: Sequence[int], subjects: Container[str]
) -> Iterator[Traces]:
    """The traces of the live records at some positions. subjects: those all of whose records leave,
    so that the scan looks for their ids too."""
    stored = {state.bucket.number: state.features for state in current.manifest.buckets}
    for rows in current.index.rows(np.array(positions, np.int64)):
        table = read_rows(current.store, rows.bucket).take(rows.rows)
        features = read_features(current.store, stored[rows.bucket.number])[rows.rows]
        ids, people, digests = columns(table, "record_id", "subject_id", "digest")
        pictures = read_pictures(current.store, rows.bucket, table)
        for record, subject, digest, picture, feature in zip(
            ids, people, digests, pictures, features, strict=True
        ):
            person = str(subject) if subject in subjects else None
            pixels = prepare(
                picture, current.manifest.backbone.spec, current.config.data.max_pixels
            ).tobytes()
            found: bytes = digest  # type: ignore[assignment]
            yield Traces.of(
                str(record),
                found,
                picture=picture,
                feature=feature.tobytes(),
                pixels=pixels,
                subject_id=person,
            )
