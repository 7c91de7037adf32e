"""How many shards records get of which nobody has said it: chosen once, kept, and said."""

from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.partition.shard_count import STEPS, shard_count
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from tests.support.law import expect_equal, never_seen
from tests.support.world import World

LEARNER = {"kind": "class_means"}
UNSET: dict[str, Any] = {"partition": {"shards": None}, "learner": LEARNER}
RANDOM: dict[str, Any] = {
    "partition": {"kind": "random"},
    "learner": LEARNER,
    "aggregation": {"kind": "all"},
}


def test_a_shard_has_records_enough() -> None:
    """On average, of each class too; the number grows with the records, in steps, to a bound."""
    for classes in (1, 2, 10, 100):
        found = [shard_count(n, classes) for n in range(0, 60_000, 37)]
        assert found == sorted(found)
        assert set(found) <= set(STEPS)
        for n, shards in zip(range(0, 60_000, 37), found, strict=True):
            assert shards == 1 or n / shards >= max(32, 8 * classes)


def test_240_pictures_in_two_classes_get_few_shards() -> None:
    """192 of them train."""
    assert shard_count(192, 2) == 5


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Some 64 and more of 90 records train: enough for two shards."""
    return World(tmp_path_factory.mktemp("crowd"), n=90, classes=2)


@pytest.mark.parametrize("sections", [UNSET, RANDOM], ids=["adaptive", "random"])
def test_the_number_is_chosen_once_and_kept(crowd: World, sections: dict[str, Any]) -> None:
    """The workspace's configuration says it, so that a deletion moves no other shard, and a
    training with that number that never saw the records has the same bytes."""
    root = crowd.space()
    trained = train(Session(root), crowd.config(**sections))
    kept = Session(root).config().partition.shards
    assert kept == trained.manifest.identity["partition"]["shards"] == 2
    gone = crowd.ids[:60]  # so many that a new workspace would get one shard
    unlearn(Session(root), ErasureTargets(records=gone))
    said = {**sections, "partition": {**sections["partition"], "shards": kept}}
    expect_equal(root, never_seen(crowd, gone, **said))
    new = crowd.space()
    assert (
        train(Session(new), crowd.without(gone, **sections)).manifest.identity["partition"][
            "shards"
        ]
        == 1
    )
    assert verify(Session(root), rebuild=True).ok


def test_a_second_training_takes_the_number_of_the_first(crowd: World) -> None:
    """Also where the records have become fewer, and where the workspace was cut by a threshold; a
    number that is given is compared."""
    for cut in ({"shards": 3}, {"threshold": 0.05, "shards": None}):
        root = crowd.space()
        given = {"partition": cut, "learner": LEARNER}
        first = train(Session(root), crowd.config(**given))
        excluded = crowd.ids[:60]
        again = train(Session(root), crowd.without(excluded, **UNSET))
        assert again.manifest.identity == first.manifest.identity
        with pytest.raises(ConfigError, match="was trained with partition"):
            train(Session(root), crowd.config(partition={"shards": 7}, learner=LEARNER))


def test_public_prototypes_get_the_number_too(crowd: World, tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    for number, image in enumerate(crowd.images[:6]):
        (public / f"{number}.png").write_bytes(image)
    partition = {"kind": "public", "path": str(public)}
    root = crowd.space()
    config = crowd.config(partition=partition, learner=LEARNER)
    assert len(train(Session(root), config).manifest.shards) <= 2
    assert Session(root).config().partition.shards == 2


def test_shards_of_few_records_are_told(crowd: World) -> None:
    """Not where one shard has all there are."""
    many = crowd.config(partition={"shards": 12}, learner=LEARNER)
    sizes = train(Session(crowd.space()), many).small_shards
    assert sizes
    assert max(sizes) < 10
    one = crowd.without(crowd.ids[:80], partition={"shards": 1}, learner=LEARNER)
    assert train(Session(crowd.space()), one).small_shards == ()
