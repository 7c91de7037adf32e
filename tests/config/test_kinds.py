"""Sections that come in several kinds: which there are, how one is chosen, and that one's fields
are not another's."""

import typing
from itertools import permutations
from pathlib import Path

import pytest

from lmeraser_ray.config import (
    Config,
    LinearProbeConfig,
    PromptConfig,
    PromptHeadConfig,
    SharedHeadConfig,
)
from lmeraser_ray.config.options import FIELDS, help_of, kinds_of, load_config, override
from lmeraser_ray.errors import ConfigError

DEFAULTS = load_config(None, [])
KINDS = {"partition": "adaptive", "learner": "prompt_head", "aggregation": "nearest"}
"""The sections that come in several kinds, and the first one's."""


def test_the_kinds_are_those_of_the_configuration() -> None:
    """Not a list of their own: each kind is a class of the union, in its order."""
    for section, first in KINDS.items():
        union = typing.get_args(Config.model_fields[section].annotation)
        found = [
            member
            for part in union
            for member in (typing.get_args(part) or [part])
            if isinstance(member, type)
        ]
        assert kinds_of(section) == [model.model_fields["kind"].default for model in found]
        assert kinds_of(section)[0] == first
    assert kinds_of("data") == []
    assert kinds_of("partition") == ["adaptive", "public", "random"]
    assert FIELDS["learner.prompt.width"].kinds == ("prompt_head", "shared_head", "label_mapping")
    assert FIELDS["learner.slices"].kinds == tuple(kinds_of("learner"))
    assert FIELDS["seed"].kinds == ()


def test_the_help_lists_kinds() -> None:
    """At a field those that have it, unless all do."""
    told = {name: help_of(name, option) for name, option in FIELDS.items()}
    assert told["learner.ridge"].startswith("[prompt_head] The ridge penalty")
    assert told["aggregation.combine"].startswith("[all, blend] mean: of")
    assert told["learner.slices"].startswith("SISA's R")
    assert told["seed"].startswith("Keys the split")
    assert told["learner.prompt.kind"].startswith("[prompt_head, shared_head, label_mapping]")


class TestKinds:
    """A kind's fields are its own."""

    def test_another_kind_starts_the_section_anew(self) -> None:
        """Fields of the old kind would be no fields of the new one, and those of the same name were
        chosen for the old one."""
        config = load_config(None, [("learner.kind", "linear_probe")])
        assert config.learner == LinearProbeConfig()
        assert DEFAULTS.learner.head_lr == LinearProbeConfig().head_lr
        assert override(DEFAULTS, [("learner.kind", "linear_probe")]) == config
        assert config.partition == DEFAULTS.partition

    def test_whatever_the_order_of_the_options(self) -> None:
        """The kind comes first, then its fields; a deeper kind after the one that it lies in."""
        pairs = [
            ("learner.prompt.kind", "fixed_patch"),
            ("learner.epochs", "3"),
            ("learner.prompt.width", "5"),
            ("learner.kind", "shared_head"),
        ]
        wanted = SharedHeadConfig(epochs=3, prompt=PromptConfig(kind="fixed_patch", width=5))
        for order in permutations(pairs):
            assert load_config(None, order).learner == wanted

    @pytest.mark.parametrize(
        "written", ["learner: {epochs: 3}", "learner: {kind: prompt_head, epochs: 3}"]
    )
    def test_the_same_kind_keeps_the_fields(self, tmp_path: Path, written: str) -> None:
        """Also where the file leaves the kind to its default."""
        path = tmp_path / "c.yaml"
        path.write_text(written)
        assert load_config(path, [("learner.kind", "prompt_head")]).learner.epochs == 3  # type: ignore[union-attr]

    def test_another_kind_of_prompt_keeps_its_fields(self) -> None:
        """All prompts have the same fields."""
        assert isinstance(DEFAULTS.learner, PromptHeadConfig)
        config = load_config(None, [("learner.prompt.kind", "fixed_patch")])
        assert config.learner == DEFAULTS.learner.model_copy(
            update={"prompt": PromptConfig(kind="fixed_patch", width=8, lr=0.05)}
        )

    @pytest.mark.parametrize(
        ("section", "wrong", "near"),
        [("learner", "rigde", "ridge"), ("partition", "adaptiv", "adaptive")],
    )
    def test_an_unknown_kind_names_the_choices(
        self, tmp_path: Path, section: str, wrong: str, near: str
    ) -> None:
        path = tmp_path / "c.yaml"
        path.write_text(f"{section}: {{kind: {wrong}}}")
        for file, pairs in ((path, []), (None, [(f"{section}.kind", wrong)])):
            with pytest.raises(ConfigError) as caught:
                load_config(file, pairs)
            assert f"{section}.kind is '{wrong}'" in str(caught.value)
            assert ", ".join(kinds_of(section)) in str(caught.value)
            assert f"did you mean {near}?" in str(caught.value)

    def test_an_unknown_kind_like_none_names_the_choices_alone(self) -> None:
        with pytest.raises(ConfigError, match=r"expected one of nearest, all, hash, blend\.$"):
            load_config(None, [("aggregation.kind", "xyzzy")])

    def test_a_field_of_another_kind_is_refused_by_the_kind_that_has_it(self) -> None:
        """And not with the advice to write what was written."""
        for pairs, words in (
            ([("learner.kind", "ridge"), ("learner.ridge", "0.5")], "prompt_head"),
            ([("aggregation.combine", "vote")], "all"),
        ):
            with pytest.raises(ConfigError, match=rf"^{pairs[-1][0]} .*kind {words}") as caught:
                load_config(None, pairs)
            assert "did you mean" not in str(caught.value)

    def test_a_wrong_value_is_named_without_its_kind(self) -> None:
        """The name that was typed, not pydantic's path through the union."""
        with pytest.raises(ConfigError, match=r"^learner\.penalty is '-1'"):
            load_config(None, [("learner.kind", "ridge"), ("learner.penalty", "-1")])
        with pytest.raises(ConfigError, match=r"^learner\.prompt\.width is '-1'"):
            load_config(None, [("learner.prompt.width", "-1")])

    def test_what_does_not_fit_together(self) -> None:
        for pairs, words in (
            ([("partition.kind", "random")], "set aggregation.kind to all or hash"),
            ([("partition.kind", "public")], "partition.path is missing"),
            ([("learner.kind", "shared_head"), ("learner.slices", "2")], "shared head"),
        ):
            with pytest.raises(ConfigError, match=words):
                load_config(None, pairs)
