"""The laws where batch norms are folded: the same bits run to run and in two processes, deletion
equals never having seen; and a workspace that an earlier release trained goes on unfolded."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lmeraser_ray.config import PromptHeadConfig
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.learners.base import ShardData
from lmeraser_ray.models.learners.prompt_head import PromptHead
from lmeraser_ray.models.numerics import make_deterministic, one_thread
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.flow import load_inputs
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.object_storage.path import ObjectPath
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.ingested_flow import ingested_flow
from tests.support.backbones import load, pixels
from tests.support.law import expect_equal, held, never_seen, trained_and_unlearned
from tests.support.world import Recorder, World

NORMED = {"name": "tf_efficientnet_lite0", "weights": "random", "input_size": 32}
UNFOLDED = {**NORMED, "fold": False}


@pytest.fixture
def small(tmp_path: Path) -> World:
    return World(tmp_path, n=16)


def digest() -> str:
    """SHA-256 over features and a trained constituent of the embedded backbone, loaded here."""
    make_deterministic()
    backbone = load(input_size=32, batch=4)
    found = hashlib.sha256(backbone.features(pixels(4, 32)).tobytes())
    shard = ShardData("5a" * 32, pixels(12, 32), ("a", "b", "c") * 4)
    learner = PromptHead(PromptHeadConfig(epochs=2, batch=5, crop=1, flip=True))
    with one_thread():
        found.update(learner.train(shard, backbone).to_bytes())
    return f"{len(backbone.folded)} {found.hexdigest()}"


def test_features_and_training_are_the_same_bits_in_each_run_and_process() -> None:
    work = f"from {__name__} import digest; print(digest())"
    other = subprocess.run(
        [sys.executable, "-c", work],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    here = digest()
    assert here.startswith("49 ")
    assert digest() == here == other.stdout.strip()


def test_unlearning_equals_never_having_seen(small: World) -> None:
    """Law 1; the workspace keeps that it folds, and its second training finds all it needs."""
    gone = small.ids[3:5]
    root = trained_and_unlearned(small, [ErasureTargets(tuple(gone))], backbone=NORMED)
    expect_equal(root, never_seen(small, gone, backbone=NORMED))
    assert Session(root).config().backbone.fold is True
    before, recorder = held(root), Recorder()
    train(recorder.session(root), small.config(backbone=NORMED))
    assert (recorder.trained, recorder.features, held(root)) == ([], 0, before)
    assert verify(Session(root), rebuild=True).differences == ()
    with pytest.raises(ConfigError, match=r"backbone\.fold differ"):
        train(Session(root), small.config(backbone=UNFOLDED))


def test_a_workspace_of_an_earlier_release_goes_on_unfolded(small: World) -> None:
    """What it kept says nothing of folding; neither does the configuration that it is trained with
    again."""
    root, recorder = small.space(), Recorder()
    train(Session(root), small.config(backbone=UNFOLDED))
    before, path = held(root), root / "configuration.json"
    kept = json.loads(path.read_text())
    assert kept["backbone"].pop("fold") is False
    write = path.write if isinstance(path, ObjectPath) else path.write_bytes
    write(json.dumps(kept).encode())
    assert verify(Session(root), rebuild=True).differences == ()
    train(recorder.session(root), small.config(backbone=NORMED))
    assert (recorder.trained, recorder.features, held(root)) == ([], 0, before)
    assert Session(root).config().backbone.fold is False
    path.unlink()  # training puts it back, and the manifest knows what was folded
    train(recorder.session(root), small.config(backbone=NORMED))
    assert (recorder.trained, recorder.features, held(root)) == ([], 0, before)


def test_a_whole_model_trains_its_norms(small: World) -> None:
    """In a workspace and in a study, which keeps no configuration."""
    learner = {"kind": "whole_model", "epochs": 1, "batch": 8}
    partition = {"kind": "random", "shards": 1, "unit": "record"}
    root = small.space()
    config = small.config(
        backbone=NORMED, learner=learner, partition=partition, aggregation={"kind": "all"}
    )
    done = train(Session(root), config)
    assert Session(root).config().backbone.fold is False
    store = Store(root.parent / "study", "run")
    store.create()
    with ingested_flow(Session(root.parent), store, load_inputs(config)) as (flow, buckets):
        assert flow.evaluate(buckets, None).manifest.shards == done.manifest.shards
    [shard] = done.manifest.shards
    assert b"body.bn1.weight" in store.read(shard.stages[-1])
