"""Prompts: where each kind lies, what it adds, and that a moving one's place is a function of the
picture in prediction."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmeraser_ray.config import PromptConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.learners.prompt import (
    check_width,
    drawn_places,
    hashed_places,
    initial_prompt,
    overlay,
    prompt_mask,
)

SIZE = 16
KINDS = ("padding", "fixed_patch", "random_patch")


def config(kind: str, width: int = 3, **fields: object) -> PromptConfig:
    return PromptConfig.model_validate({"kind": kind, "width": width, **fields})


def pictures(n: int, seed: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestPlaces:
    @pytest.mark.parametrize(("size", "width"), [(16, 0), (16, 1), (16, 3), (16, 8), (15, 7)])
    def test_masks(self, size: int, width: int) -> None:
        """A frame, the upper left corner, and a patch that is all of itself."""
        frame, corner, moving = (prompt_mask(config(kind, width), size) for kind in KINDS)
        inside = torch.zeros(size, size)
        inside[width : size - width, width : size - width] = 1
        assert torch.equal(frame[0, 0], 1 - inside)
        assert corner.shape == (1, 1, size, size)
        assert corner[0, 0, :width, :width].all()
        assert corner.sum() == width * width
        assert torch.equal(moving, torch.ones(1, 1, width, width))

    @pytest.mark.parametrize(
        ("kind", "widest"), [("padding", 8), ("fixed_patch", 16), ("random_patch", 16)]
    )
    def test_the_widest_prompt(self, kind: str, widest: int) -> None:
        """A frame meets itself at half of the input, a patch fills it."""
        check_width(config(kind, widest), SIZE)
        assert prompt_mask(config(kind, widest), SIZE).all()
        with pytest.raises(
            ConfigError,
            match=rf"width is {widest + 1}, but a {kind} prompt has at most {widest} pixels",
        ):
            check_width(config(kind, widest + 1), SIZE)

    @pytest.mark.parametrize("kind", KINDS)
    def test_initial_prompts(self, kind: str) -> None:
        mask = prompt_mask(config(kind), SIZE)
        zero, drawn = (
            initial_prompt(config(kind, init=init), SIZE, generator())
            for init in ("zero", "random")
        )
        assert zero.shape == drawn.shape == (1, 3, *mask.shape[2:])
        assert not zero.any()
        assert not drawn[mask.expand_as(drawn) == 0].any()
        assert (drawn[mask.expand_as(drawn) == 1] != 0).all()
        assert torch.equal(drawn, initial_prompt(config(kind, init="random"), SIZE, generator()))
        assert not torch.equal(
            drawn, initial_prompt(config(kind, init="random"), SIZE, generator(1))
        )

    @pytest.mark.parametrize("kind", ["padding", "fixed_patch"])
    def test_what_does_not_move_has_no_places_and_draws_nothing(self, kind: str) -> None:
        drawing = generator()
        before = drawing.get_state()
        assert drawn_places(config(kind), SIZE, 5, drawing) == []
        assert torch.equal(drawing.get_state(), before)
        assert hashed_places(config(kind), pictures(5)) == []

    def test_drawn_places_are_a_function_of_the_generator(self) -> None:
        moving = config("random_patch")
        found = drawn_places(moving, SIZE, 500, generator())
        assert found == drawn_places(moving, SIZE, 500, generator())
        assert found != drawn_places(moving, SIZE, 500, generator(1))
        assert {top for top, _ in found} == {left for _, left in found} == set(range(14))

    def test_hashed_places_reach_every_corner(self) -> None:
        found = hashed_places(config("random_patch"), pictures(500))
        assert {top for top, _ in found} == {left for _, left in found} == set(range(14))
        assert len(set(found)) > 150, "top and left are two numbers"

    def test_a_hashed_place_is_a_function_of_the_picture(self) -> None:
        """Whatever stands beside it, wherever it lies in memory; one grey level more is another
        picture."""
        moving, some = config("random_patch"), pictures(9)
        found = hashed_places(moving, some)
        assert [hashed_places(moving, some[[i]])[0] for i in range(9)] == found
        assert hashed_places(moving, some[::-1]) == found[::-1]
        assert hashed_places(moving, np.asfortranarray(some)) == found
        nudged = some.copy()
        nudged[:, 0, 0, 0] ^= 1
        assert hashed_places(moving, nudged) != found

    def test_hashed_places_stay_as_they_are(self) -> None:
        """A constituent that was trained by one version is asked by another."""
        grey = np.full((1, 3, SIZE, SIZE), 7, np.uint8)
        assert hashed_places(config("random_patch"), grey) == [(11, 0)]

    def test_the_widest_patch_has_one_place(self) -> None:
        assert drawn_places(config("random_patch", SIZE), SIZE, 2, generator()) == [(0, 0)] * 2
        assert hashed_places(config("random_patch", SIZE), pictures(2)) == [(0, 0)] * 2


class TestOverlay:
    @pytest.mark.parametrize("kind", KINDS)
    def test_no_width_is_no_prompt(self, kind: str) -> None:
        nothing, x = config(kind, 0, init="random"), torch.rand(2, 3, SIZE, SIZE)
        prompt = initial_prompt(nothing, SIZE, generator())
        for places in (
            drawn_places(nothing, SIZE, 2, generator()),
            hashed_places(nothing, pictures(2)),
        ):
            assert torch.equal(overlay(x, prompt, places), x)

    @pytest.mark.parametrize("kind", ["padding", "fixed_patch"])
    def test_one_that_lies_still_is_added(self, kind: str) -> None:
        x, prompt = (
            torch.rand(2, 3, SIZE, SIZE),
            initial_prompt(config(kind, init="random"), SIZE, generator()),
        )
        found = overlay(x, prompt, [])
        inside = prompt_mask(config(kind), SIZE).expand_as(x) == 1
        assert torch.equal(found, x + prompt)
        assert torch.equal(found[~inside], x[~inside])
        assert (found[inside] != x[inside]).all()

    @settings(deadline=None, max_examples=30)
    @given(st.integers(1, SIZE), st.data())
    def test_a_patch_lies_where_its_place_says(self, width: int, data: st.DataObject) -> None:
        """Row and column, each picture its own, to the far edges."""
        spot = st.integers(0, SIZE - width)
        places = data.draw(st.lists(st.tuples(spot, spot), min_size=1, max_size=4))
        x = torch.rand(len(places), 3, SIZE, SIZE)
        prompt = torch.rand(1, 3, width, width)
        expected = x.clone()
        for one, (top, left) in zip(expected, places, strict=True):
            one[:, top : top + width, left : left + width] += prompt[0]
        assert torch.equal(overlay(x, prompt, places), expected)

    @pytest.mark.parametrize("places", [[], [(0, 5), (13, 2)]], ids=["still", "moving"])
    def test_a_prompt_for_each_picture(self, places: list[tuple[int, int]]) -> None:
        """As the shared head's training has them."""
        side = 3 if places else SIZE
        x, prompts = torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 3, side, side)
        found = overlay(x, prompts, places)
        for i in range(2):
            assert torch.equal(found[[i]], overlay(x[[i]], prompts[[i]], places[i : i + 1]))

    def test_the_gradient_of_a_patch_is_that_of_what_it_covers(self) -> None:
        prompt = torch.zeros(1, 3, 2, 2, requires_grad=True)
        weight = torch.rand(2, 3, SIZE, SIZE)
        (overlay(torch.rand(2, 3, SIZE, SIZE), prompt, [(1, 4), (9, 0)]) * weight).sum().backward()
        assert prompt.grad is not None
        assert torch.allclose(prompt.grad[0], weight[0, :, 1:3, 4:6] + weight[1, :, 9:11, 0:2])


class TestShapes:
    @pytest.mark.parametrize(
        ("size", "width"), [(16, 0), (16, 1), (16, 2), (16, 8), (15, 7), (224, 30)]
    )
    def test_the_frame(self, size: int, width: int) -> None:
        mask = prompt_mask(PromptConfig(width=width), size)[0, 0]
        inside = size - 2 * width
        assert int(mask.sum()) == size * size - inside * inside
        assert torch.equal(mask, mask.T)
        assert torch.equal(mask, mask.flip(0))

    def test_the_papers_prompt_has_its_number_of_parameters(self) -> None:
        """69,840 for a frame of 30 pixels at 224."""
        assert 3 * int(prompt_mask(PromptConfig(width=30), 224).sum()) == 69840

    def test_initial_prompts(self) -> None:
        zero = initial_prompt(PromptConfig(width=2), SIZE, torch.Generator())
        drawn = initial_prompt(
            PromptConfig(width=2, init="random"), SIZE, torch.Generator().manual_seed(0)
        )
        assert not zero.any()
        assert not drawn[:, :, 2:-2, 2:-2].any()
        assert drawn[
            prompt_mask(PromptConfig(width=2), SIZE).expand(1, 3, -1, -1) == 1
        ].std() == pytest.approx(1, abs=0.15)
