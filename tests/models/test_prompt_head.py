"""Prompt and head: equations 1, 3 and 4. What it shares with the other learners is in
`test_every_learner.py`."""

import math
import random
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
import pytest
import torch

from lmeraser_ray.config import BackboneConfig, PromptConfig, PromptHeadConfig, ReadoutConfig
from lmeraser_ray.models.backbone import Backbone, load_backbone
from lmeraser_ray.models.learners.base import ShardData, Stage, Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.prompt import prompt_mask
from lmeraser_ray.models.learners.prompt_head import PromptHead, PromptHeadFitter
from lmeraser_ray.models.numerics import one_thread
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from tests.support.world import Recorder, World

CPU = torch.device("cpu")
SIZE = 16
KEY = "5a" * 32
LEARNING = {"sgd": 0.5, "adamw": 0.02}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    config = BackboneConfig(
        name="tiny",
        weights="random",
        input_size=SIZE,
        batch=4,
        readout=ReadoutConfig(layer=None, pool="mean"),
    )
    return load_backbone(config, CPU)


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    with one_thread():
        yield


def shard(n: int = 12, classes: int = 3, key: str = KEY, seed: int = 0) -> ShardData:
    rng = np.random.default_rng(seed)
    labels = [i % classes for i in range(n)]
    pixels = np.clip(
        rng.normal([[[[60 + 60 * k]]] for k in labels], 30, (n, 3, SIZE, SIZE)), 0, 255
    ).astype(np.uint8)
    return ShardData(key, pixels, tuple(f"c{k}" for k in labels))


def config(
    *, prompt: Mapping[str, object] = MappingProxyType({}), **fields: object
) -> PromptHeadConfig:
    base = {"epochs": 4, "batch": 5, "crop": 2, "flip": True, "head_lr": 0.01}
    return PromptHeadConfig.model_validate(
        {**base, **fields, "prompt": {"width": 2, "init": "random", **prompt}}
    )


def loss_of(constituent: Constituent, backbone: Backbone, data: ShardData) -> float:
    """Equation 3, summed over the shard, from the constituent's answer."""
    answer = PromptHead(config()).answer(constituent, backbone, data.inputs)
    columns = [constituent.classes.index(label) for label in data.labels]
    return float(-np.log(answer[np.arange(len(columns)), columns]).sum())


def same(one: Constituent, other: Constituent) -> bool:
    return one.to_bytes() == other.to_bytes()


class TestTraining:
    @pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
    @pytest.mark.parametrize("head", ["zero", "ridge"])
    def test_the_loss_of_equation_3_falls(
        self, backbone: Backbone, optimizer: str, head: str
    ) -> None:
        rate = LEARNING[optimizer]
        settings = config(
            epochs=30,
            optimizer=optimizer,
            head_init=head,
            crop=0,
            flip=False,
            head_lr=rate,
            prompt={"init": "zero"},
        )
        before = PromptHeadFitter(settings, shard(), backbone).constituent()
        after = PromptHead(settings).train(shard(), backbone)
        assert loss_of(after, backbone, shard()) < 0.9 * loss_of(before, backbone, shard())
        if head == "zero":
            assert loss_of(before, backbone, shard()) == pytest.approx(12 * math.log(3), rel=1e-5)

    def test_the_prompt_helps_by_itself(self, backbone: Backbone) -> None:
        """With the head held at its ridge start, only the prompt moves, and the loss falls: the
        gradient reaches the pixels."""
        settings = config(
            epochs=40,
            head_init="ridge",
            head_lr=0.0,
            prompt={"init": "zero", "lr": 0.05},
            crop=0,
            flip=False,
        )
        before = PromptHeadFitter(settings, shard(), backbone).constituent()
        after = PromptHead(settings).train(shard(), backbone)
        assert np.array_equal(before.tensors["weight"], after.tensors["weight"])
        assert loss_of(after, backbone, shard()) < loss_of(before, backbone, shard())

    def test_only_pixels_of_the_frame_change(self, backbone: Backbone) -> None:
        found = PromptHead(config()).train(shard(), backbone).tensors["prompt"]
        frame = np.broadcast_to(prompt_mask(PromptConfig(width=2), SIZE).numpy() == 1, found.shape)
        assert found.shape == (1, 3, SIZE, SIZE)
        assert found.dtype == np.float32
        assert not found[~frame].any()
        assert (found[frame] != 0).all()
        start = PromptHeadFitter(config(), shard(), backbone).constituent().tensors["prompt"]
        assert (found[frame] != start[frame]).mean() > 0.99

    def test_weight_decay_does_not_reach_the_inside_either(self, backbone: Backbone) -> None:
        found = PromptHead(config(weight_decay=0.1)).train(shard(), backbone).tensors["prompt"]
        assert not found[:, :, 2:-2, 2:-2].any()

    def test_the_backbone_is_frozen(self, backbone: Backbone) -> None:
        before = {name: value.clone() for name, value in backbone.module.state_dict().items()}
        PromptHead(config(head_init="ridge")).train(shard(), backbone)
        assert not backbone.module.training
        assert all(
            parameter.grad is None and not parameter.requires_grad
            for parameter in backbone.module.parameters()
        )
        assert all(
            torch.equal(value, before[name]) for name, value in backbone.module.state_dict().items()
        )

    def test_a_shard_of_one_class_does_no_work(self, backbone: Backbone) -> None:
        """Equation 3 is zero for every prompt and head."""
        batches: list[int] = []
        data = shard(classes=1)
        found = PromptHead(config(head_init="ridge")).train(
            data, backbone, watch=Watch(records=batches.append)
        )
        assert batches == []
        assert found.classes == ("c0",)
        assert same(found, PromptHeadFitter(config(), data, backbone).constituent())
        assert PromptHead(config()).answer(found, backbone, data.inputs[:2]).tolist() == [[1], [1]]

    def test_a_ridge_start_waits_for_the_first_stage_of_two_classes(
        self, backbone: Backbone
    ) -> None:
        """Not lost where the first slice has one class; what is trained is not started anew."""
        settings = config(head_init="ridge", head_lr=0.0, slices=3)
        whole = shard()
        first = ShardData(KEY, whole.inputs[::3], whole.labels[::3])
        start = PromptHead(settings).train(first, backbone)
        assert start.classes == ("c0",)
        second = PromptHeadFitter(settings, whole, backbone, Stage(start)).constituent()
        assert same(second, PromptHeadFitter(settings, whole, backbone).constituent())
        assert second.tensors["weight"].any()
        more = shard(n=14, classes=4)
        third = PromptHeadFitter(settings, more, backbone, Stage(second)).constituent()
        assert np.array_equal(third.tensors["weight"][:3], second.tensors["weight"])

    def test_only_a_ridge_start_with_slices_has_another_recipe(self) -> None:
        """So that no other key of an earlier release changes."""
        found = {
            (head, slices): PromptHead(config(head_init=head, slices=slices)).identity()["recipe"]
            for head in ("zero", "ridge")
            for slices in (1, 3)
        }
        assert found == {("zero", 1): 1, ("zero", 3): 1, ("ridge", 1): 1, ("ridge", 3): 2}

    def test_one_record(self, backbone: Backbone) -> None:
        assert PromptHead(config()).train(shard(n=1), backbone).classes == ("c0",)

    def test_a_batch_larger_than_the_shard(self, backbone: Backbone) -> None:
        batches: list[int] = []
        PromptHead(config(batch=100)).train(shard(), backbone, watch=Watch(records=batches.append))
        assert batches == [12] * 4

    def test_bfloat16_runs_and_keeps_float32_parameters(self, backbone: Backbone) -> None:
        half, full = (
            PromptHead(config(dtype=dtype, epochs=10)).train(shard(), backbone)
            for dtype in ("bfloat16", "float32")
        )
        assert {t.dtype for t in half.tensors.values()} == {np.dtype(np.float32)}
        assert all(np.isfinite(t).all() for t in half.tensors.values())
        assert not same(half, full)
        assert loss_of(half, backbone, shard()) == pytest.approx(
            loss_of(full, backbone, shard()), rel=0.2
        )

    def test_a_prompt_of_no_width_is_a_head_alone(self, backbone: Backbone) -> None:
        found = PromptHead(config(prompt={"width": 0})).train(shard(), backbone)
        assert not found.tensors["prompt"].any()
        assert found.tensors["weight"].any()


class TestDeterminism:
    """A constituent is a function of its shard, the backbone and the recipe, whatever field of the
    recipe is used."""

    @pytest.mark.parametrize(
        "fields", [{"head_init": "ridge"}, {"optimizer": "sgd"}, {"dtype": "bfloat16"}], ids=str
    )
    def test_two_trainings_are_equal_bit_for_bit(
        self, backbone: Backbone, fields: dict[str, object]
    ) -> None:
        """Whatever the global generators hold, and whatever was trained in between."""
        learner = PromptHead(config(**fields))
        first = learner.train(shard(), backbone)
        for seed in (1, 2):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            learner.train(shard(n=7, key="11" * 32, seed=seed), backbone)
            assert same(learner.train(shard(), backbone), first)

    def test_without_augmentation_and_shuffling_the_key_changes_nothing(
        self, backbone: Backbone
    ) -> None:
        """So nothing else hangs on it."""
        settings = config(prompt={"init": "zero"}, crop=0, flip=False, batch=1, epochs=1)
        one, other = (
            PromptHead(settings).train(shard(n=2, classes=2, key=key), backbone)
            for key in ("00" * 32, "00" * 32)
        )
        assert same(one, other)

    @pytest.mark.parametrize("threads", [1, 2, 3])
    def test_a_training_job_has_one_thread_whatever_is_set_outside(
        self, world: World, threads: int
    ) -> None:
        """Through the job, which is what sets the threads; and the outside setting is as it was
        afterwards."""
        root, recorder = world.space(), Recorder()
        torch.set_num_threads(threads)
        train(recorder.session(root), world.config(learner={"head_init": "ridge"}))
        assert torch.get_num_threads() == threads
        assert len(recorder.trained) == 4
        TestDeterminism.seen.add(WorkspaceFolder(root).require_published().fingerprint)
        assert len(TestDeterminism.seen) == 1

    seen: set[str] = set()  # noqa: RUF012
