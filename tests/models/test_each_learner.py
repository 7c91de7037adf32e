"""What is particular to each learner: the shared head's groups, the mapping of labels, the whole
model's reach, the probe's features."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmeraser_ray.config import (
    BackboneConfig,
    LabelMappingConfig,
    LinearProbeConfig,
    PromptConfig,
    ReadoutConfig,
    SharedHeadConfig,
    WholeModelConfig,
)
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone, TinyConvnet, load_backbone
from lmeraser_ray.models.learners.base import WHOLE, ShardData, Stage
from lmeraser_ray.models.learners.label_mapping import LabelMapping, LabelMappingFitter, one_to_one
from lmeraser_ray.models.learners.linear_probe import LinearProbe
from lmeraser_ray.models.learners.prompt import overlay, prompt_mask
from lmeraser_ray.models.learners.shared_head import SharedHead, SharedHeadFitter
from lmeraser_ray.models.learners.whole_model import WholeModel
from tests.models.test_learners import (
    CPU,
    KEY,
    SIZE,
    answer,
    backbone,
    one_torch_thread,
    pixels,
    shard,
    train,
)

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


class TestLabelMapping:
    CONFIG = LabelMappingConfig(prompt=FRAME, epochs=4, batch=5)
    LEARNER = LabelMapping(CONFIG)

    def test_the_greatest_score_of_all_goes_first(self) -> None:
        """Greedy, as in the paper's code: the best sum would be 8 + 7 = 15."""
        assert one_to_one(np.array([[9.0, 8], [7, 1]])).tolist() == [0, 1]
        assert one_to_one(np.array([[1.0, 2, 3], [1, 2, 9], [5, 2, 8]])).tolist() == [1, 2, 0]

    def test_ties_go_to_the_lowest_label_and_class(self) -> None:
        assert one_to_one(np.zeros((2, 3))).tolist() == [0, 1]
        assert one_to_one(np.array([[0.0, 4, 4], [0, 4, 4]])).tolist() == [1, 2]

    @given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 2**32))
    def test_one_to_one(self, labels: int, more: int, seed: int) -> None:
        """No two labels share a class; and no label could have a better class that is not taken by
        a better pair."""
        scores = np.random.default_rng(seed).integers(0, 5, (labels, labels + more)).astype(float)
        kept = scores.copy()
        found = one_to_one(scores)
        assert np.array_equal(scores, kept), "the scores are the caller's"
        assert len(set(found.tolist())) == labels
        won = scores[np.arange(labels), found]
        holder = {int(source): label for label, source in enumerate(found)}
        for label in range(labels):
            for source in np.flatnonzero(scores[label] > won[label]).tolist():
                assert won[holder[source]] >= scores[label, source]

    def prompted(self, backbone: Backbone, fit: LabelMappingFitter) -> NDArray[np.float64]:
        """The classifier's probabilities under the prompt that training begins with [n, 10]."""
        with torch.no_grad():
            x = overlay(backbone.normalize(fit.pictures), fit.prompt, [])
            return functional.softmax(backbone.logits(x), 1).double().numpy()

    def test_the_mapping_is_by_the_counts_of_winners(self, backbone: Backbone) -> None:
        """Written out: how often each class is the most active on each label's records, equal
        counts told apart by the mean probability."""
        data = shard(self.LEARNER, backbone, n=30)
        fit = LabelMappingFitter(self.CONFIG, data, backbone, WHOLE)
        probabilities = self.prompted(backbone, fit)
        counts, means = np.zeros((3, 10)), np.zeros((3, 10))
        for row, label in zip(probabilities, data.labels, strict=True):
            counts[data.classes.index(label), row.argmax()] += 1
            means[data.classes.index(label)] += row
        free_labels, free_sources, expected = {0, 1, 2}, set(range(10)), [-1, -1, -1]
        while free_labels:
            pairs = [(counts[i, j], means[i, j], i, j) for i in free_labels for j in free_sources]
            _, _, label, source = max(pairs)
            expected[label] = source
            free_labels.remove(label)
            free_sources.remove(source)
        assert fit.mapping.tolist() == expected
        assert len({*counts.argmax(1).tolist()}) < 3, (
            "labels compete for a class, or this shows nothing"
        )

    def test_a_count_outweighs_any_probability(self, backbone: Backbone) -> None:
        """A class that wins one record by a hair stands before one that is a close second on
        all."""
        data = shard(self.LEARNER, backbone, n=4, classes=1)
        told = torch.full((4, 5), 1e-9)
        told[:, 2] = 0.49
        told[range(4), [0, 1, 3, 4]] = torch.tensor([0.52, 0.51, 0.51, 0.51])
        spy = Backbone(
            backbone.module,
            backbone.spec,
            backbone.readout,
            backbone.batch,
            "tiny",
            CPU,
            Told(told.log()),
        )
        assert LabelMappingFitter(self.CONFIG, data, spy, WHOLE).mapping.tolist() == [0]

    def test_an_answer_is_of_the_mapped_classes(self, backbone: Backbone) -> None:
        data = shard(self.LEARNER, backbone)
        found = train(self.LEARNER, backbone, data)
        mapping = found.tensors["mapping"]
        assert mapping.dtype == np.int64
        with torch.no_grad():
            x = backbone.normalize(torch.from_numpy(data.inputs[:4])) + torch.from_numpy(
                found.tensors["prompt"]
            )
            expected = functional.softmax(backbone.logits(x)[:, mapping.tolist()], 1)
        assert answer(self.LEARNER, backbone, found, data.inputs[:4]) == pytest.approx(
            expected.numpy(), abs=1e-6
        )

    def test_only_the_prompt_is_trained(self, backbone: Backbone) -> None:
        data = shard(self.LEARNER, backbone)
        found = train(self.LEARNER, backbone, data).tensors
        start = LabelMappingFitter(self.CONFIG, data, backbone, WHOLE)
        assert set(found) == {"prompt", "mapping"}
        assert np.array_equal(found["mapping"], start.mapping.numpy())
        frame = np.broadcast_to(prompt_mask(FRAME, SIZE).numpy() == 1, (1, 3, SIZE, SIZE))
        assert not found["prompt"][~frame].any()
        assert (found["prompt"][frame] != start.prompt.detach().numpy()[frame]).mean() > 0.99

    def test_a_later_stage_maps_under_the_prompt_that_it_begins_with(
        self, backbone: Backbone
    ) -> None:
        """And so for the labels that have come since."""
        first = train(self.LEARNER, backbone, shard(self.LEARNER, backbone, classes=2))
        data = shard(self.LEARNER, backbone, n=30)
        fit = LabelMappingFitter(self.CONFIG, data, backbone, Stage(start=first))
        assert np.array_equal(fit.prompt.detach().numpy(), first.tensors["prompt"])
        probabilities = self.prompted(backbone, fit)
        targets = [data.classes.index(label) for label in data.labels]
        scores = np.eye(3)[targets].T @ (np.eye(10)[probabilities.argmax(1)] + probabilities / 31)
        assert fit.mapping.tolist() == one_to_one(scores).tolist()

    def test_more_labels_than_classes(self, backbone: Backbone) -> None:
        """Ten go one to one; the eleventh has none."""
        assert (
            len(
                set(
                    train(self.LEARNER, backbone, shard(self.LEARNER, backbone, n=10, classes=10))
                    .tensors["mapping"]
                    .tolist()
                )
            )
            == 10
        )
        with pytest.raises(ConfigError, match=r"has 10 classes, a shard has 11 labels"):
            train(self.LEARNER, backbone, shard(self.LEARNER, backbone, n=11, classes=11))

    def test_a_backbone_without_its_classifier(self, backbone: Backbone) -> None:
        bare = Backbone(
            backbone.module, backbone.spec, backbone.readout, backbone.batch, "tiny", CPU
        )
        with pytest.raises(ConfigError, match="without its classifier"):
            train(self.LEARNER, bare, shard(self.LEARNER, backbone))


class Told(torch.nn.Module):
    """A classifier that says what it is told. scores: [b, classes]."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.register_buffer("scores", scores)

    def forward(self, _: Tensor) -> Tensor:
        return self.scores  # type: ignore[return-value]


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
        assert (LinearProbe(LinearProbeConfig()).needs, TestWholeModel.LEARNER.needs) == (
            "features",
            "pictures",
        )
        assert pixels([0]).dtype == np.uint8
