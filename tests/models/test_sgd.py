"""Augmentation and the schedule of the rate, which all learners by gradient descent share."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lmeraser_ray.config import PictureSgdConfig
from lmeraser_ray.models.learners.sgd import augment, schedule


class TestAugment:
    def pictures(self, n: int = 40) -> torch.Tensor:
        return torch.from_numpy(
            np.random.default_rng(0).integers(1, 256, (n, 3, 8, 8), dtype=np.uint8)
        )

    def draw(self, seed: int = 0, **fields: object) -> torch.Tensor:
        return augment(
            self.pictures(),
            PictureSgdConfig.model_validate({"crop": 2, "flip": True, **fields}),
            torch.Generator().manual_seed(seed),
        )

    def test_a_function_of_the_generator(self) -> None:
        assert torch.equal(self.draw(0), self.draw(0))
        assert not torch.equal(self.draw(0), self.draw(1))

    def test_nothing_set_nothing_done(self) -> None:
        assert torch.equal(self.draw(crop=0, flip=False), self.pictures())

    def test_a_flip_is_a_flip(self) -> None:
        found, pictures = self.draw(crop=0, flip=True), self.pictures()
        flipped = [torch.equal(a, b.flip(2)) for a, b in zip(found, pictures, strict=True)]
        kept = [torch.equal(a, b) for a, b in zip(found, pictures, strict=True)]
        assert all(a != b for a, b in zip(flipped, kept, strict=True))
        assert 8 < sum(flipped) < 32

    def test_a_crop_is_a_shift_with_zeros_at_the_border(self) -> None:
        found, pictures = self.draw(crop=2, flip=False), self.pictures()
        padded = functional.pad(pictures, (2, 2, 2, 2))
        shifts = set()
        for one, source in zip(found, padded, strict=True):
            fits = [
                (t, u)
                for t in range(5)
                for u in range(5)
                if torch.equal(one, source[:, t : t + 8, u : u + 8])
            ]
            assert len(fits) == 1
            shifts.add(fits[0])
        assert {t for t, _ in shifts} == {u for _, u in shifts} == set(range(5))
        assert found.dtype == torch.uint8


@pytest.mark.parametrize(
    ("steps", "warmup"), [(1, 0.0), (1, 0.9), (10, 0.2), (100, 0.33), (100, 0.0), (7, 0.99)]
)
def test_the_schedule(steps: int, warmup: float) -> None:
    rates = [schedule(step, steps, warmup) for step in range(steps)]
    peak = int(np.argmax(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak <= warmup * steps + 1
    if warmup == 0:
        assert rates[0] == 1
    if steps == 100:
        assert rates[-1] < 0.01
        assert max(rates) > 0.95
