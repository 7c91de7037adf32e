"""The whole model is trained: every parameter that the readout reaches."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lmeraser_ray.config import BackboneConfig, ReadoutConfig, WholeModelConfig
from lmeraser_ray.models.backbone import Backbone, TinyConvnet, load_backbone
from lmeraser_ray.models.learners.whole_model import WholeModel
from tests.support.learners import CPU, SIZE, answer, backbone, one_torch_thread, shard, train

__all__ = ["backbone", "one_torch_thread"]


class Early(TinyConvnet):
    """The tests' convnet, to be read at its first layer."""

    def forward_intermediates(self, x: Tensor, **_: object) -> list[Tensor]:
        return [functional.gelu(self.stem(x))]


class TestWholeModel:
    LEARNER = WholeModel(WholeModelConfig(epochs=4, batch=5))

    def test_every_parameter_of_the_backbone_is_trained_and_kept(self, backbone: Backbone) -> None:
        found = train(self.LEARNER, backbone, shard(self.LEARNER, backbone)).tensors
        named = dict(backbone.module.named_parameters())
        assert set(found) == {"weight", "bias", *(f"body.{name}" for name in named)}
        for name, public in named.items():
            assert found[f"body.{name}"].shape == tuple(public.shape)
            assert not np.array_equal(found[f"body.{name}"], public.numpy()), name

    def test_layers_behind_the_readout_are_not_reached(self, backbone: Backbone) -> None:
        """They are neither trained nor kept, weight decay or not."""
        module = Early()
        module.load_state_dict(backbone.module.state_dict())
        early = Backbone(
            module, backbone.spec, ReadoutConfig(layer=0, pool="mean"), 4, "early", CPU
        )
        learner = WholeModel(WholeModelConfig(epochs=4, batch=5, weight_decay=0.1))
        found = train(learner, early, shard(learner, early)).tensors
        assert set(found) == {"weight", "bias", "body.stem.weight", "body.stem.bias"}
        assert found["weight"].shape == (3, 8)

    def test_training_begins_at_the_public_weights(self, backbone: Backbone) -> None:
        still = WholeModel(WholeModelConfig(epochs=1, lr=0, head_lr=0))
        found = train(still, backbone, shard(still, backbone)).tensors
        assert all(
            np.array_equal(found[f"body.{name}"], public.numpy())
            for name, public in backbone.module.named_parameters()
        )
        assert not found["weight"].any()

    def test_an_answer_is_that_of_its_own_weights(self, backbone: Backbone) -> None:
        """Not of the public ones, which another constituent begins with."""
        data = shard(self.LEARNER, backbone)
        found = train(self.LEARNER, backbone, data)
        module = TinyConvnet()
        module.load_state_dict(
            {
                name.removeprefix("body."): torch.from_numpy(t)
                for name, t in found.tensors.items()
                if "." in name
            }
        )
        own = Backbone(module, backbone.spec, backbone.readout, backbone.batch, "tiny", CPU)
        weight, bias = (torch.from_numpy(found.tensors[name]) for name in ("weight", "bias"))
        queries = torch.from_numpy(data.inputs[:4])
        expected, public = (
            functional.softmax(model.read(model.normalize(queries)) @ weight.T + bias, 1).detach()
            for model in (own, backbone)
        )
        rows = answer(self.LEARNER, backbone, found, data.inputs[:4])
        assert rows == pytest.approx(expected.numpy(), abs=1e-6)
        assert not np.allclose(rows, public.numpy(), atol=1e-4)

    def test_other_public_weights_train_otherwise(self, backbone: Backbone) -> None:
        config = BackboneConfig(
            name="tiny",
            weights="random",
            seed=1,
            input_size=SIZE,
            batch=4,
            readout=ReadoutConfig(layer=None, pool="mean"),
        )
        other = load_backbone(config, CPU)
        one, two = (
            train(self.LEARNER, model, shard(self.LEARNER, model)) for model in (backbone, other)
        )
        assert not np.array_equal(one.tensors["body.stem.weight"], two.tensors["body.stem.weight"])
