"""DAM-VP's label mapping: the backbone's own classes stand for the labels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmeraser_ray.config import LabelMappingConfig, PromptConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import WHOLE, Stage
from lmeraser_ray.models.learners.label_mapping import LabelMapping, LabelMappingFitter, one_to_one
from lmeraser_ray.models.learners.prompt import overlay, prompt_mask
from tests.support.learners import CPU, SIZE, answer, backbone, one_torch_thread, shard, train

__all__ = ["backbone", "one_torch_thread"]


FRAME = PromptConfig(width=2, init="random")


class Told(torch.nn.Module):
    """A classifier that says what it is told. scores: [b, classes]."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.register_buffer("scores", scores)

    def forward(self, _: Tensor) -> Tensor:
        return self.scores  # type: ignore[return-value]


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

    def test_as_many_labels_as_classes(self, backbone: Backbone) -> None:
        """Ten go one to one; an eleventh is refused before training (`test_requirements`)."""
        found = train(self.LEARNER, backbone, shard(self.LEARNER, backbone, n=10, classes=10))
        assert sorted(found.tensors["mapping"].tolist()) == list(range(10))

    def test_a_backbone_without_its_classifier(self, backbone: Backbone) -> None:
        bare = Backbone(
            backbone.module, backbone.spec, backbone.readout, backbone.batch, "tiny", CPU
        )
        with pytest.raises(ConfigError, match="without its classifier"):
            train(self.LEARNER, bare, shard(self.LEARNER, backbone))
