"""Law 7: after unlearning, no file below the workspace holds the record's id, its picture's bytes,
or its feature's bytes."""

from pathlib import Path

import numpy as np
import pytest

from lmeraser_ray.data.feature_file import read_features
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.paths import Location
from tests.support.law import index_of
from tests.support.world import World


def traces(root: Location, name: str, subject: str, image: bytes) -> dict[str, bytes]:
    """What a record leaves in a workspace: the bytes to look for."""
    folder = WorkspaceFolder(root)
    manifest = folder.require_published()
    index, _ = index_of(root)
    at = index.names("record_id").index(name)
    features = np.concatenate(
        [read_features(folder.store, state.features) for state in manifest.buckets]
    )
    return {
        "id": name.encode(),
        "subject": subject.encode(),
        "picture": image,
        "digest": index.digests[at].tobytes(),
        "hexadecimal digest": index.digests[at].tobytes().hex().encode(),
        "feature": features[at].tobytes(),
    }


def found(root: Location, wanted: dict[str, bytes]) -> set[str]:
    """Which traces are in any file below the workspace, or in a file's name."""
    hits = set()
    for path in root.rglob("*") if isinstance(root, Path) else root.below(markers=True):
        data = path.read_bytes() if path.is_file() else b""
        hits |= {
            what for what, text in wanted.items() if text in data or text in str(path).encode()
        }
    return hits


@pytest.mark.parametrize("at", [0, 7, 18, 33])
def test_nothing_of_an_erased_person_is_left(world: World, at: int) -> None:
    """All traces are there before (so the search can find them) and none after."""
    root = world.space()
    train(Session(root), world.config())
    wanted = traces(root, world.ids[at], world.subjects[at], world.images[at])
    assert found(root, wanted) == {"id", "subject", "picture", "digest", "feature"}
    unlearn(Session(root), ErasureTargets(subjects=(world.subjects[at],)))
    assert found(root, wanted) == set()
    verify(Session(root), rebuild=True)
    assert found(root, wanted) == set()


def test_a_hole_does_not_show_where_a_record_was(world: World) -> None:
    """Buckets are what they would be without it: the same files, not files with a gap."""
    root, other = world.space(), world.space()
    train(Session(root), world.config())
    unlearn(Session(root), ErasureTargets((world.ids[4],)))
    train(Session(other), world.without([world.ids[4]]))

    def buckets(place: Path) -> list[Bucket]:
        return [state.bucket for state in WorkspaceFolder(place).require_published().buckets]

    assert buckets(root) == buckets(other)
    assert world.ids[4] not in RecordIndex.read(WorkspaceFolder(root).store, buckets(root)).names(
        "record_id"
    )
