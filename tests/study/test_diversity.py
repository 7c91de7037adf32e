"""Diversity: pairs are a function of the set, distances are what they say, LPIPS that cannot be had
is said in one sentence."""

import sys
from argparse import Namespace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from lmeraser_ray.cli.figures import run_diversity
from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.models.partition.stage import gather
from lmeraser_ray.operations.single_costs import shards_in
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.study.diversity import (
    Diversity,
    diversity,
    draw_mates,
    draw_pairs,
    euclidean,
    mean_of,
)
from tests.support.world import World

CLOSED = {"learner": {"kind": "class_means"}}
"""Nothing here depends on the learner, and this one trains in no time."""


def trained(world: World, config: Config) -> Session:
    session = Session(world.space())
    train(session, config)
    return session


@given(st.integers(2, 30), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_a_pair_is_two_different_records(n: int, seed: int) -> None:
    pairs = draw_pairs(n, 200, seed)
    assert pairs.shape == (200, 2)
    assert pairs.min() >= 0
    assert pairs.max() < n
    assert (pairs[:, 0] != pairs[:, 1]).all()


def test_pairs_are_uniform() -> None:
    """20,000 draws over the 20 ordered pairs of 5 records: 1,000 each, with a standard deviation of
    31."""
    pairs = draw_pairs(5, 20_000, seed=0)
    counts = np.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25).reshape(5, 5)
    assert np.diag(counts).tolist() == [0] * 5
    assert np.abs(counts[~np.eye(5, dtype=bool)] - 1000).max() < 140


def test_mates_are_uniform_within_their_shard() -> None:
    shard_of = np.array(
        [3, 0, 3, 0, 3, 7, 0, 0], np.int32
    )  # shard 7 has a single member, who has no mate
    pairs = draw_mates(shard_of, 14_000, seed=0)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert (shard_of[pairs[:, 0]] == shard_of[pairs[:, 1]]).all()
    first = np.bincount(pairs[:, 0], minlength=8)
    assert first[5] == 0
    assert np.abs(np.delete(first, 5) - 2000).max() < 200
    of_record_2 = np.bincount(pairs[pairs[:, 0] == 2, 1], minlength=8)
    assert np.flatnonzero(of_record_2).tolist() == [0, 4]
    assert abs(int(of_record_2[0]) - int(of_record_2[4])) < 200


def test_nobody_has_a_mate() -> None:
    assert draw_mates(np.arange(4, dtype=np.int32), 10, seed=0).shape == (0, 2)


def test_the_interval_holds_the_mean_over_all_pairs() -> None:
    """At 95%: of 200 draws of 400 pairs, 190 are to be expected, with a standard deviation of 3."""
    features = np.random.default_rng(0).normal(size=(60, 5))
    truth = pdist(features).mean()
    found = [mean_of(euclidean(features)(draw_pairs(60, 400, seed))) for seed in range(200)]
    assert 178 <= sum(abs(one.mean - truth) <= one.interval for one in found) <= 200
    assert np.mean([one.mean for one in found]) == pytest.approx(truth, rel=0.01)


def test_distances_and_the_norm_are_those_of_the_stored_features(world: World) -> None:
    session = trained(world, world.config(**CLOSED))
    done = diversity(session, pairs=5000)
    manifest, store = session.folder.require_published(), session.folder.store
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    features = gather(store, index, [state.features for state in manifest.buckets], index.training)
    shard_of = shards_in(store, session.config(), manifest, index)
    assert (done.records, done.shards) == (len(features), len(manifest.shards))
    assert done.norm == pytest.approx(np.linalg.norm(features, axis=1).mean())
    assert done.between.mean == pytest.approx(pdist(features).mean(), rel=0.03)
    mates = [
        [
            np.linalg.norm(features[i] - features[j])
            for j in np.flatnonzero(shard_of == shard_of[i])
            if j != i
        ]
        for i in range(len(shard_of))
    ]
    assert done.within is not None
    assert done.within.mean == pytest.approx(
        np.mean([np.mean(found) for found in mates if found]), rel=0.03
    )
    assert done.within.mean < done.between.mean


def test_a_function_of_the_set(world: World) -> None:
    """Records in another order in the file, or erased instead of never seen: the same figures to
    the last bit."""
    gone = world.ids[6:8]
    config = world.without(gone, **CLOSED)
    expected = diversity(trained(world, config), pairs=50)
    table = pq.read_table(world.path)
    other = world.folder / "turned.parquet"
    pq.write_table(table.take(list(range(table.num_rows))[::-1]), other)
    turned = config.model_copy(update={"data": config.data.model_copy(update={"path": other})})
    assert diversity(trained(world, turned), pairs=50) == expected
    session = trained(world, world.config(**CLOSED))
    assert diversity(session, pairs=50) != expected
    unlearn(session, ErasureTargets(tuple(gone), ()))
    assert diversity(session, pairs=50) == expected


def test_too_few_records_and_pairs(world: World) -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        diversity(Session(world.space()), pairs=1)
    small = World(world.folder / "small", n=4)
    session = trained(small, small.config(**CLOSED))
    unlearn(session, ErasureTargets(tuple(small.ids), ()))
    with pytest.raises(DataError, match="0 training records"):
        diversity(session)


def lpips_of(world: World, size: int = 32) -> Diversity:
    config = world.config(**CLOSED, backbone={"input_size": size})
    return diversity(trained(world, config), metric="lpips", pairs=40)


def test_without_the_package(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ConfigError, match="pip install 'lmeraser_ray"):
        lpips_of(world)


def test_without_a_network(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lpips = pytest.importorskip("lpips")

    def no_network(**_: object) -> None:
        raise URLError("no such host")

    monkeypatch.setattr(lpips.pretrained_networks.tv, "alexnet", no_network)
    with pytest.raises(ConfigError, match=r"weights of LPIPS cannot be had \(no such host\)"):
        lpips_of(world)


def test_pictures_too_small_for_alexnet(world: World) -> None:
    with pytest.raises(ConfigError, match="at least 31 pixels, but the backbone's have 16"):
        lpips_of(world, 16)


def test_lpips(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own linear weights on a random AlexNet: each distance is that of the pair by itself,
    on pictures in [-1, 1]."""
    lpips = pytest.importorskip("lpips")
    from torchvision.models import alexnet

    torch.manual_seed(0)
    random = alexnet(weights=None)
    monkeypatch.setattr(lpips.pretrained_networks.tv, "alexnet", lambda **_: random)
    seen: list[torch.Tensor] = []
    forward = lpips.LPIPS.forward

    def spy(self: torch.nn.Module, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        seen.extend([left, right])
        return forward(self, left, right)

    monkeypatch.setattr(lpips.LPIPS, "forward", spy)
    done = lpips_of(world)
    assert {len(part) for part in seen} == {32}
    assert min(float(part.min()) for part in seen) >= -1
    assert max(float(part.max()) for part in seen) <= 1
    assert max(float(part.max()) for part in seen) > 0.5
    assert done.norm is None
    network = lpips.LPIPS(net="alex", verbose=False)
    with torch.no_grad():
        alone = [float(forward(network, seen[0][[i]], seen[1][[i]])) for i in range(32)]
        alone += [float(forward(network, seen[2][[i]], seen[3][[i]])) for i in range(8)]
    assert done.between.mean == pytest.approx(np.mean(alone), rel=1e-4)
    assert done.between.pairs == 40


def test_the_verb(world: World, tmp_path: Path) -> None:
    session = trained(world, world.config(**CLOSED))
    report = run_diversity(
        Namespace(workspace=session.root, overrides=(), metric="features", pairs=300),
        Progress(quiet=True),
    )
    assert report.data is not None
    between = report.data["between"]
    assert between["normalised"] == pytest.approx(between["mean"] / report.data["norm"])
    assert between["interval"] > 0
    assert report.data["within_shards"]["mean"] < between["mean"]
    assert f"{between['mean']:.4f} ± {between['interval']:.4f} (300 pairs" in report.text
