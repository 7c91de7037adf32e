"""Options: YAML below, options above, every mistake named with its exit code, and what is printed
can be read again."""

import argparse
import types
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from lmeraser_ray.config import Config
from lmeraser_ray.config.options import (
    CHANGEABLE,
    FIELDS,
    add_options,
    kinds_of,
    load_config,
    nearest,
    override,
    read_yaml,
    to_yaml,
)
from lmeraser_ray.errors import ConfigError

ROOT = Path(__file__).parents[2]
QUICKSTART = load_config(None, [])

VALUES = {
    "data.source": ("folder", "data.path=/tmp/x"),
    "data.path": ("/tmp/x", "data.source=folder"),
    "data.test_path": ("/tmp/y", "data.source=folder", "data.path=/tmp/x"),
    "backbone.mean": ("[0.1, 0.2, 0.3]",),
    "backbone.std": ("[0.1, 0.2, 0.3]",),
    "partition.threshold": ("2.5", "partition.shards=null"),
    "partition.shards": ("7",),
    "aggregation.temperature": ("null",),
    "learner.ridge": ("0.5",),
    "partition.kind": ("public", "partition.path=/tmp/public"),
    "partition.path": ("/tmp/other",),
}
"""A value for each field for which `other` finds none, and what must be set beside it."""

KINDS = {"partition": "adaptive", "learner": "prompt_head", "aggregation": "nearest"}
"""The sections that come in several kinds, and the quickstart's."""

BESIDE = {"public": [("partition.path", "/tmp/public")], "random": [("aggregation.kind", "all")]}
"""What a kind of partition must have beside it."""

FIXED = {("learner.slices", "shared_head")}
"""What a kind has in one value alone."""

CASES = [
    (name, kind)
    for name, option in FIELDS.items()
    for kind in ([] if name.removesuffix(".kind") in KINDS else option.kinds) or [""]
    if (name, kind) not in FIXED
]
"""Every field, in every kind of its section that has it."""


def base_of(name: str, kind: str) -> Config:
    """The quickstart, with this kind of section where the field has several."""
    section = name.split(".", maxsplit=1)[0]
    return (
        load_config(None, [(f"{section}.kind", kind), *BESIDE.get(kind, [])])
        if kind and kind != KINDS[section]
        else QUICKSTART
    )


def field_of(base: Config, name: str) -> object:
    model: type[BaseModel] = Config
    found: object = base
    *sections, last = name.split(".")
    for section in sections:
        found = getattr(found, section)
        model = type(typing.cast("BaseModel", found))
    return model.model_fields[last].annotation


def other(base: Config, name: str) -> str | None:
    """A text that sets the field to something else than `base` has; None where there is nothing
    else."""
    kind, default = field_of(base, name), value_at(base, name)
    section = name.removesuffix(".kind")
    if section in KINDS:
        return next(found for found in kinds_of(section) if found != default)
    members = (
        typing.get_args(kind)
        if typing.get_origin(kind) in (types.UnionType, typing.Union)
        else [kind]
    )
    kinds = [member for member in members if member is not type(None)]
    kind = kinds[0]
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is typing.Literal:
        return next((str(v) for v in typing.get_args(kind) if v != default), None)
    if kind is bool:
        return str(not default).lower()
    if kind is int:
        return str(int(default or 0) + 100)  # type: ignore[call-overload]
    if kind is float:
        return "0.75"
    return "/some/where" if kind is Path else "something"


def value_at(config: Config, name: str) -> object:
    found: object = config
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_field_can_be_set_by_option_and_by_yaml(name: str, kind: str, tmp_path: Path) -> None:
    base = base_of(name, kind)
    text, *beside = VALUES.get(name) or (other(base, name),)
    assert text is not None
    if name == "partition.shards" and kind == "random":
        beside = []
    pairs = [*(tuple(b.split("=")) for b in beside), (name, text)]
    config = override(base, pairs)  # type: ignore[arg-type]
    assert value_at(config, name) != value_at(base, name), text
    written = tmp_path / "config.yaml"
    written.write_text(to_yaml(config))
    assert load_config(written, []) == config
    if base == QUICKSTART:
        assert load_config(None, pairs) == config  # type: ignore[arg-type]


def test_every_field_is_an_option_and_is_explained() -> None:
    """Once, in the group of its section, with its description, choices and default."""
    parser = argparse.ArgumentParser(usage="x")
    add_options(parser)
    text = " ".join(parser.format_help().split())
    for name, option in FIELDS.items():
        choices = f"{{{','.join(option.choices)}}}" if option.choices else "VALUE"
        assert text.count(f" --{name} {choices} ") == 1, name
        assert option.about or name.split(".")[0] in ("partition", "learner", "aggregation"), name
    sections = {name.split(".")[0] for name in FIELDS if "." in name}
    assert all(f" {section}: " in text for section in sections)
    assert len(FIELDS) > 70


def test_some_fields_alone_can_be_options() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, CHANGEABLE)
    words = ["--queue.poll", "1", "--execution.cpus=2", "--backbone.weights", "w"]
    assert parser.parse_args(words).overrides == [
        ("queue.poll", "1"),
        ("execution.cpus", "2"),
        ("backbone.weights", "w"),
    ]
    assert not any(f"--{name}" in parser.format_help() for name in ("seed", "backbone.seed"))


def test_options_are_above_yaml_which_is_above_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("learner: {epochs: 3, batch: 8}\nseed: 5\n")
    config = load_config(path, [("learner.epochs", "4"), ("learner.epochs", "6")])
    assert (config.learner.epochs, config.learner.batch, config.seed) == (6, 8, 5)
    assert config.learner.prompt.width == Config().learner.prompt.width, (
        "a file does not stand on the quickstart"
    )


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for text in ("", "# only a comment\n", "---\n"):
        path.write_text(text)
        assert load_config(path, []) == Config()


def test_an_empty_section_is_its_defaults_or_is_explained(tmp_path: Path) -> None:
    """`learner:` with all its fields commented out: fields may still be set over it."""
    path = tmp_path / "c.yaml"
    path.write_text("learner:\n")
    for pairs in ([], [("learner.epochs", "4")]):
        try:
            assert load_config(path, pairs).learner.batch == Config().learner.batch
        except ConfigError as error:
            assert "learner" in str(error)


@pytest.mark.parametrize("text", ["null", "none", "None"])
def test_null(text: str) -> None:
    assert load_config(None, [("backbone.input_size", text)]).backbone.input_size is None


def test_lists() -> None:
    assert load_config(None, [("backbone.mean", "[0.1, 0.2, 0.3]")]).backbone.mean == (
        0.1,
        0.2,
        0.3,
    )


MISTAKES = {
    "no such field": ([("learner.epoch", "3")], "learner.epochs"),
    "no such section": ([("lerner.epochs", "3")], "did you mean learner.epochs"),
    "the last part alone": ([("epochs", "3")], "did you mean learner.epochs"),
    "a section": ([("learner", "3")], "--learner is no field"),
    "not a number": ([("learner.epochs", "three")], "learner.epochs is 'three'"),
    "out of range": ([("learner.epochs", "0")], "learner.epochs is '0'"),
    "not a choice": ([("learner.optimizer", "adam")], "'sgd' or 'adamw'"),
    "null where it cannot be": ([("learner.epochs", "null")], "learner.epochs is None"),
    "a broken list": ([("backbone.mean", "[0.1")], "backbone.mean"),
    "a broken mapping": ([("seed", "{")], "seed"),
    "a short list": ([("backbone.mean", "[0.1, 0.2]")], "backbone.mean"),
    "infinite": ([("learner.prompt.lr", "inf")], "learner.prompt.lr"),
    "an infinite threshold": (
        [("partition.threshold", "inf"), ("partition.shards", "null")],
        "partition.threshold",
    ),
    "not a number at all": ([("learner.head_lr", "nan")], "learner.head_lr"),
    "a seed that JSON cannot hold": ([("seed", str(2**53))], "seed"),
    "a backbone seed that torch cannot take": ([("backbone.seed", str(2**70))], "backbone.seed"),
    "two cuts": ([("partition.threshold", "1")], "one of partition.threshold and partition.shards"),
    "a path without its source": ([("data.path", "/x")], "data.source"),
    "two kinds of subjects": (
        [("data.subjects_file", "/x"), ("data.subject_pattern", ".")],
        "keep one",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_explained(case: str) -> None:
    pairs, words = MISTAKES[case]
    with pytest.raises(ConfigError) as caught:
        load_config(None, pairs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learner: [1", "not valid YAML"),
        ("- 1\n", "holds a list"),
        ("just words", "holds a str"),
        ("learner: {epoch: 3}", "did you mean learner.epochs?"),
        ("learner: 3", "learner is 3"),
        ("lerner: {epochs: 3}", "lerner"),
        ("seed: 2001-99-99", "not valid YAML"),
        ("seed: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("1: 2", "1"),
    ],
)
def test_mistakes_in_yaml_are_explained(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, [])
    assert words in str(caught.value)
    assert "c.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_setting_a_field_of_a_section_that_is_no_section(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("learner: 3")
    with pytest.raises(ConfigError, match="learner"):
        load_config(path, [("learner.epochs", "4")])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nowhere", tmp_path, tmp_path / "bytes"):
        with pytest.raises(ConfigError, match=str(path)):
            read_yaml(path)


def test_nearest_names() -> None:
    assert nearest("learner.prompt.witdh") == ": did you mean learner.prompt.width?"
    assert nearest("sample_size") == ": did you mean partition.sample_size?"
    assert nearest("qqqqqqqq") == ""


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("**/*.yaml")), ids=lambda path: path.name
)
def test_every_configuration_that_is_shipped(path: Path) -> None:
    """It loads, and opens with the command that runs it."""
    load_config(path, [])
    assert path.read_text().startswith("#")
    assert "lmeraser" in path.read_text().splitlines()[0] + path.read_text().splitlines()[1]


def test_the_quickstart_file_says_what_is_done_without_one() -> None:
    assert load_config(ROOT / "configs" / "quickstart.yaml", []) == QUICKSTART
