"""`predict` as a library: one order of classes, any kind of picture, streams."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmeraser_ray import Workspace
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.operations import predict as predict_module
from tests.support.world import World, picture

CLASSES = ("class-0", "class-1", "class-2")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    base = tmp_path_factory.mktemp("predict")
    found = Workspace(base / "workspace")
    found.train(World(base / "world").config(aggregation={"shards": 1}))
    return found


def test_the_classes_are_those_of_the_workspace_whatever_is_asked(space: Workspace) -> None:
    """With one shard a picture, most shards lack a class."""
    images = [picture(at, at % 3) for at in range(12)]
    whole = space.predict(images)
    assert whole.predictions.classes == CLASSES
    for at, image in enumerate(images):
        alone = space.predict([image]).predictions
        assert alone.classes == CLASSES
        assert alone.probabilities[0].tolist() == whole.predictions.probabilities[at].tolist()
    nothing = space.predict([])
    assert nothing.predictions.probabilities.shape == (0, 3) and nothing.names == ()
    assert nothing.predictions.classes == CLASSES and nothing.top(2) == []


def test_every_kind_of_picture_has_the_same_prediction(space: Workspace, tmp_path: Path) -> None:
    image = picture(3)
    path = tmp_path / "a.png"
    path.write_bytes(image)
    held = Image.open(path)
    found = space.predict([image, path, str(path), held, np.asarray(held), {"image": held}])
    assert len({tuple(row) for row in found.predictions.probabilities.tolist()}) == 1
    assert found.names == ("picture 0", str(path), str(path), "picture 3", "picture 4", "picture 5")


def test_what_cannot_be_used_is_refused_or_left_out(space: Workspace) -> None:
    images = [picture(1), b"no picture", picture(2)]
    with pytest.raises(DataError, match="picture 1: it begins with b'no pictu'"):
        space.predict(images)
    found = space.predict(images, on_error="skip")
    assert found.names == ("picture 0", "picture 2")
    assert [(one.at, one.name) for one in found.unreadable] == [(1, "picture 1")]
    assert "1 unreadable" in repr(found)
    nothing = space.predict([b""], on_error="skip")
    assert (nothing.names, len(nothing.unreadable)) == ((), 1)


def test_a_stream_is_read_as_far_as_it_is_asked(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory holds a chunk: an endless stream has a first prediction."""
    monkeypatch.setattr(predict_module, "CHUNK_BYTES", 3 * 3 * 16 * 16)
    read: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            read.append(len(read))
            yield picture(len(read))

    stream = space.predict_each(endless())
    first, second = next(stream), next(stream)
    assert first.names == ("picture 0", "picture 1", "picture 2") and len(read) == 6
    assert second.start == 3 and second.names[0] == "picture 3"


def test_a_stream_goes_on_by_the_state_that_an_erasure_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_module, "CHUNK_BYTES", 1)
    world = World(tmp_path / "world")
    space = Workspace(tmp_path / "workspace")
    space.train(world.config())
    stream = space.predict_each([picture(1), picture(1)])
    before = next(stream).manifest.fingerprint
    space.unlearn(records=world.ids[:4])
    after = next(stream).manifest.fingerprint
    assert before != after == space.fingerprint()


def test_the_result_is_short_and_becomes_a_table(space: Workspace) -> None:
    found = space.predict([picture(at) for at in range(40)])
    assert len(repr(found)) < 100 and "40 pictures" in repr(found)
    table = found.to_pandas()
    assert table.shape == (40, 6) and list(table["label"]) == found.predictions.labels
    assert "<table" in found._repr_html_() and len(found._repr_html_()) < 10_000
    best = found.top(2)
    assert [row[0][0] for row in best] == found.predictions.labels
    assert all(len(row) == 2 and row[0][1] >= row[1][1] for row in best)
    with pytest.raises(ConfigError, match="1 or more"):
        found.top(0)
