"""What every learner by gradient descent promises: it is a pure function of the shard, the backbone
and the configuration, and trains in stages."""

import random

import numpy as np
import pytest
import torch

from lmeraser_ray.config import LabelMappingConfig, LinearProbeConfig
from lmeraser_ray.config.section import LATER
from lmeraser_ray.data.reader import Read
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import ShardData, Stage, Watch
from lmeraser_ray.models.learners.passes import epoch_share
from lmeraser_ray.pipeline.jobs import shard_of
from tests.support.learners import (
    CASES,
    IN_STAGES,
    KEY,
    Case,
    answer,
    backbone,
    loss,
    one_torch_thread,
    shard,
    train,
)

__all__ = ["backbone", "one_torch_thread"]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


class TestAPureFunction:
    """Of the shard, the backbone and the configuration."""

    def test_two_trainings_are_equal_bit_for_bit(self, case: Case, backbone: Backbone) -> None:
        """Whatever the global generators hold and whatever this learner trained in between; and
        they are left as they were."""
        learner = case.make()
        data = shard(learner, backbone)
        first = train(learner, backbone, data).to_bytes()
        for seed in (1, 2):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            before = torch.get_rng_state()
            train(learner, backbone, shard(learner, backbone, n=7, key="11" * 32, seed=seed))
            assert train(learner, backbone, data).to_bytes() == first
            assert torch.equal(torch.get_rng_state(), before)
        assert train(case.make(), backbone, data).to_bytes() == first

    def test_the_order_in_which_records_are_read_is_not_in_it(
        self, case: Case, backbone: Backbone
    ) -> None:
        """Whatever buckets they lie in: a shard is sorted by digest before anyone sees it, its
        groups with it."""
        learner = case.make()
        data = shard(learner, backbone)
        digests = np.random.default_rng(5).integers(0, 256, (12, 32), dtype=np.uint8)
        bytes_of = set()
        for seed in range(3):
            order = np.random.default_rng(seed).permutation(12)
            read = Read(data.inputs[order], digests[order], tuple(data.labels[i] for i in order))
            sorted_ = shard_of(KEY, read, 12, None if data.groups is None else data.groups[order])
            bytes_of.add(train(learner, backbone, sorted_).to_bytes())
        assert len(bytes_of) == 1

    def test_the_key_seeds_everything_random(self, case: Case, backbone: Backbone) -> None:
        learner = case.make()
        one, other = (
            train(learner, backbone, shard(learner, backbone, key=key)) for key in (KEY, "5b" * 32)
        )
        assert one.to_bytes() != other.to_bytes()

    def test_the_backbone_is_left_as_it_was(self, case: Case, backbone: Backbone) -> None:
        before = {name: value.clone() for name, value in backbone.module.state_dict().items()}
        learner = case.make()
        train(learner, backbone, shard(learner, backbone))
        assert not backbone.module.training
        assert all(
            parameter.grad is None and not parameter.requires_grad
            for parameter in backbone.module.parameters()
        )
        assert all(
            torch.equal(value, before[name]) for name, value in backbone.module.state_dict().items()
        )

    def test_whoever_watches_changes_no_bit(self, case: Case, backbone: Backbone) -> None:
        """They see every batch, and the constituent at the end of each epoch."""
        learner = case.make()
        data, batches, snapshots = shard(learner, backbone), [], []
        watch = Watch(records=batches.append, epoch=lambda now: snapshots.append(now().to_bytes()))
        found = train(learner, backbone, data, watch=watch).to_bytes()
        assert found == train(learner, backbone, data).to_bytes() == snapshots[-1]
        assert batches == [5, 5, 2] * 4
        assert len(set(snapshots)) == 4

    def test_a_shard_of_one_class_does_no_work(self, case: Case, backbone: Backbone) -> None:
        batches: list[int] = []
        learner = case.make()
        data = shard(learner, backbone, classes=1)
        found = train(learner, backbone, data, watch=Watch(records=batches.append))
        assert batches == []
        assert found.classes == ("c0",)
        assert answer(learner, backbone, found, data.inputs[:2]).tolist() == [[1], [1]]

    def test_every_field_is_in_the_identity(self, case: Case) -> None:
        """Those that came later once they have another value than the default; `test_plan` gives
        them one."""
        identity, fields = case.make().identity(), case.config.model_fields
        later = {name for name, field in fields.items() if LATER in field.metadata}
        assert {*identity} == {*fields, "recipe"} - later
        assert case.make(epochs=5).identity() != identity


class TestLearning:
    def test_the_loss_falls(self, case: Case, backbone: Backbone) -> None:
        """Against the constituent in which nothing has moved yet. The convnet's own classes hardly
        tell pictures apart, so a mapping gains little."""
        changes: dict[str, object] = dict.fromkeys(case.rates, 0.05)
        if case.config is not LinearProbeConfig:
            changes |= {"crop": 0, "flip": False}
        wanted = 0.9
        if case.config is LabelMappingConfig:
            changes["prompt"] = {**case.fields["prompt"], "lr": 1}  # type: ignore[dict-item]
            wanted = 0.995
        learner = case.make(epochs=30, **changes)
        data = shard(learner, backbone)
        before = train(case.make(**case.still()), backbone, data)
        after = train(learner, backbone, data)
        assert loss(learner, backbone, after, data) < wanted * loss(learner, backbone, before, data)

    def test_an_answer_is_a_probability(self, case: Case, backbone: Backbone) -> None:
        learner = case.make()
        found = train(learner, backbone, shard(learner, backbone))
        rows = answer(learner, backbone, found, shard(learner, backbone, n=11, seed=9).inputs)
        assert rows.shape == (11, 3)
        assert rows.dtype == np.float32
        assert rows.sum(1) == pytest.approx(np.ones(11), abs=1e-5)
        assert (rows >= 0).all()

    def test_an_answer_is_a_function_of_the_picture(self, case: Case, backbone: Backbone) -> None:
        """The same bits at any place of a batch with any neighbours; alone, in another batch shape,
        the same to 1e-5."""
        learner = case.make(epochs=10)
        found = train(learner, backbone, shard(learner, backbone))
        queries = shard(learner, backbone, n=4, seed=9).inputs
        others = shard(learner, backbone, n=4, seed=10).inputs
        whole = answer(learner, backbone, found, queries)
        for place in range(4):
            company = others.copy()
            company[place] = queries[0]
            assert answer(learner, backbone, found, company)[place].tobytes() == whole[0].tobytes()
        alone = np.concatenate([answer(learner, backbone, found, queries[[i]]) for i in range(4)])
        assert alone == pytest.approx(whole, abs=1e-5)
        assert not np.allclose(whole[0], whole[1], atol=1e-4)


@pytest.mark.parametrize("name", IN_STAGES)
class TestStages:
    """Training in slices: each stage begins with the constituent of the one before."""

    def test_a_stage_starts_where_the_last_one_ended(self, name: str, backbone: Backbone) -> None:
        """With all rates at zero nothing moves from there; a class that comes new begins at zero,
        at its place in the order."""
        case = CASES[name]
        learner = case.make(epochs=20)
        labels = ("a", "c") * 6
        inputs = shard(learner, backbone, classes=2).inputs
        first = train(learner, backbone, ShardData(KEY, inputs, labels))
        more = ShardData(
            "6b" * 32, np.concatenate([inputs, inputs[:3] // 2]), (*labels, "b", "b", "b")
        )
        second = train(case.make(**case.still()), backbone, more, Stage(start=first))
        assert second.classes == ("a", "b", "c")
        for what, before in first.tensors.items():
            after = second.tensors[what]
            if what in ("weight", "bias"):
                assert not after[1].any()
                after = after[[0, 2]]
                assert before.any()
            if what != "mapping":
                assert np.array_equal(after, before), what

    def test_where_a_stage_started_is_in_its_result(self, name: str, backbone: Backbone) -> None:
        learner = CASES[name].make()
        data = shard(learner, backbone)
        starts = [
            train(learner, backbone, shard(learner, backbone, key=key)) for key in (KEY, "5b" * 32)
        ]
        found = {
            train(learner, backbone, data, Stage(start=start)).to_bytes()
            for start in (None, *starts)
        }
        assert len(found) == 3
        assert train(learner, backbone, data, Stage(start=starts[0])).to_bytes() in found

    def test_the_start_is_left_as_it_was(self, name: str, backbone: Backbone) -> None:
        learner = CASES[name].make()
        data = shard(learner, backbone)
        start = train(learner, backbone, data)
        before = start.to_bytes()
        train(learner, backbone, data, Stage(start=start))
        assert start.to_bytes() == before

    @pytest.mark.parametrize(
        ("share", "batches"),
        [(0.5, [5, 5, 2] * 2), (2 / 3, [5, 5, 2] * 2 + [5, 5]), (0.01, [5])],
        ids=str,
    )
    def test_a_share_of_the_epochs(
        self, name: str, backbone: Backbone, share: float, batches: list[int]
    ) -> None:
        """Twelve steps in all; at least one is done."""
        found: list[int] = []
        learner = CASES[name].make()
        train(
            learner,
            backbone,
            shard(learner, backbone),
            Stage(share=share),
            Watch(records=found.append),
        )
        assert found == batches


@pytest.mark.parametrize("slices", [1, 2, 5, 20])
def test_all_stages_together_see_each_record_as_often_as_without_slices(slices: int) -> None:
    """Stage r sees r of R slices: Σ r / R times the share of the epochs is 1 (SISA, section IV)."""
    assert sum(
        stage / slices * epoch_share(slices) for stage in range(1, slices + 1)
    ) == pytest.approx(1)
