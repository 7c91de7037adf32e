"""One head for all shards, and a prompt for each."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lmeraser_ray.config import PromptConfig, SharedHeadConfig
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import WHOLE, ShardData
from lmeraser_ray.models.learners.shared_head import SharedHead, SharedHeadFitter
from tests.support.learners import KEY, SIZE, answer, backbone, one_torch_thread, shard, train

__all__ = ["backbone", "one_torch_thread"]


FRAME = PromptConfig(width=2, init="random")


class TestSharedHead:
    LEARNER = SharedHead(SharedHeadConfig(prompt=FRAME, epochs=4, batch=5))

    def test_a_prompt_for_each_shard_and_one_head(self, backbone: Backbone) -> None:
        found = train(self.LEARNER, backbone, shard(self.LEARNER, backbone)).tensors
        assert found["prompt"].shape == (2, 3, SIZE, SIZE)
        assert found["weight"].shape == (3, 16)
        assert found["bias"].shape == (3,)
        assert not found["prompt"][:, :, 2:-2, 2:-2].any()
        assert not np.array_equal(found["prompt"][0], found["prompt"][1])

    def test_a_prompt_learns_from_its_own_shard_alone(self, backbone: Backbone) -> None:
        """The head from all."""
        data = shard(self.LEARNER, backbone)
        fit = SharedHeadFitter(self.LEARNER.config, data, backbone, WHOLE)
        with torch.no_grad():
            fit.head.weight.normal_(
                generator=torch.Generator().manual_seed(0)
            )  # under a head of zeros no prompt learns
        assert data.groups is not None
        for group in (0, 1):
            fit.prompts.grad = None
            fit.loss(torch.from_numpy(np.flatnonzero(data.groups == group))).backward()
            assert fit.prompts.grad is not None
            assert fit.prompts.grad[group].any()
            assert not fit.prompts.grad[1 - group].any()

    def test_the_loss_is_that_of_each_picture_under_its_own_prompt(
        self, backbone: Backbone
    ) -> None:
        data = shard(self.LEARNER, backbone)
        fit = SharedHeadFitter(self.LEARNER.config, data, backbone, WHOLE)
        with torch.no_grad():
            fit.head.weight.normal_(generator=torch.Generator().manual_seed(0))
            rows = torch.tensor([0, 2, 3, 7])
            assert data.groups is not None
            groups = [int(data.groups[i]) for i in rows]
            assert set(groups) == {0, 1}
            prompted = torch.cat(
                [
                    backbone.normalize(fit.pictures[[i]]) + fit.prompts[[g]]
                    for i, g in zip(rows.tolist(), groups, strict=True)
                ]
            )
            expected = functional.cross_entropy(
                fit.head(backbone.read(prompted)), fit.targets[rows]
            )
            assert float(fit.loss(rows)) == pytest.approx(float(expected), rel=1e-5)

    def test_the_group_chooses_the_prompt_of_an_answer(self, backbone: Backbone) -> None:
        """As if this prompt were the only one."""
        data = shard(self.LEARNER, backbone)
        found = train(self.LEARNER, backbone, data)
        rows = [answer(self.LEARNER, backbone, found, data.inputs[:4], group) for group in (0, 1)]
        assert not np.allclose(rows[0], rows[1], atol=1e-4)
        weight, bias = (torch.from_numpy(found.tensors[name]) for name in ("weight", "bias"))
        for group in (0, 1):
            x = backbone.normalize(torch.from_numpy(data.inputs[:4])) + torch.from_numpy(
                found.tensors["prompt"][[group]]
            )
            assert rows[group] == pytest.approx(
                functional.softmax(backbone.read(x) @ weight.T + bias, 1).numpy(), abs=1e-6
            )

    def test_who_is_in_which_shard_is_in_the_result(self, backbone: Backbone) -> None:
        data = shard(self.LEARNER, backbone)
        assert data.groups is not None
        other = ShardData(KEY, data.inputs, data.labels, 1 - data.groups)
        assert (
            train(self.LEARNER, backbone, data).to_bytes()
            != train(self.LEARNER, backbone, other).to_bytes()
        )

    def test_without_groups_it_is_a_mistake(self, backbone: Backbone) -> None:
        data = shard(self.LEARNER, backbone)
        with pytest.raises(ValueError, match="the shard of each record"):
            train(self.LEARNER, backbone, ShardData(KEY, data.inputs, data.labels))
