"""The linear probe on stored features."""

import numpy as np
import pytest

from lmeraser_ray.config import LinearProbeConfig, WholeModelConfig
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import ShardData
from lmeraser_ray.models.learners.linear_probe import LinearProbe
from lmeraser_ray.models.learners.whole_model import WholeModel
from tests.support.learners import KEY, backbone, one_torch_thread, shard

__all__ = ["backbone", "one_torch_thread"]


class TestLinearProbe:
    def test_it_learns_what_can_be_told_apart(self) -> None:
        """No backbone, no picture: features alone, and new ones are answered right."""
        rng = np.random.default_rng(0)
        labels = [i % 3 for i in range(60)]
        features = (np.eye(3)[labels] * 3 + rng.normal(0, 0.3, (60, 3))).astype(np.float32)
        learner = LinearProbe(LinearProbeConfig(epochs=30, head_lr=0.05))
        found = learner.train(ShardData(KEY, features, tuple(f"c{k}" for k in labels)))
        fresh = (np.eye(3) * 3 + rng.normal(0, 0.3, (3, 3))).astype(np.float32)
        rows = learner.answer(found, fresh)
        assert rows.argmax(1).tolist() == [0, 1, 2]
        assert rows.max(1).min() > 0.9

    def test_an_answer_is_the_softmax_of_its_scores(self, backbone: Backbone) -> None:
        learner = LinearProbe(LinearProbeConfig(epochs=2, head_lr=0.05))
        data = shard(learner, backbone)
        found = learner.train(data)
        scores = np.asarray(data.inputs, float) @ found.tensors["weight"].T + found.tensors["bias"]
        expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        assert learner.answer(found, np.asarray(data.inputs, np.float32)) == pytest.approx(
            expected, abs=1e-5
        )

    def test_pictures_are_what_others_need(self) -> None:
        assert (LinearProbe(LinearProbeConfig()).needs, WholeModel(WholeModelConfig()).needs) == (
            "features",
            "pictures",
        )
