"""Options: YAML below, options above, every mistake named with its exit code, and what is printed
can be read again."""

import argparse
import re
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
    value_of,
)
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.study.variants import parse_axis

ROOT = Path(__file__).parents[2]
DEFAULTS = load_config(None, [])

VALUES = {
    "data.source": ("folder", "data.path=/tmp/x"),
    "data.path": ("/tmp/x", "data.source=folder"),
    "data.test_path": ("/tmp/y", "data.source=folder", "data.path=/tmp/x"),
    "data.window": ("[1000, 3000]",),
    "backbone.mean": ("[0.1, 0.2, 0.3]",),
    "backbone.std": ("[0.1, 0.2, 0.3]",),
    "data.permanent_column": ("stays", "data.source=folder", "data.path=/tmp/x"),
    "partition.sampled": ("permanent", "data.permanent=/tmp/x"),
    "learner.start": ("permanent", "data.permanent=/tmp/x"),
    "partition.threshold": ("2.5", "partition.shards=null"),
    "partition.shards": ("7",),
    "aggregation.temperature": ("null",),
    "learner.ridge": ("0.5",),
    "partition.kind": ("public", "partition.path=/tmp/public"),
    "partition.path": ("/tmp/other",),
    "aggregation.others": (
        "[{partition: {kind: random, shards: 1}, aggregation: {kind: all}, weight: 2}]",
    ),
}
"""A value for each field for which `other` finds none, and what must be set beside it."""

KINDS = {"partition": "adaptive", "learner": "prompt_head", "aggregation": "nearest"}
"""The sections that come in several kinds, and the default of each."""

BESIDE = {
    "public": [("partition.path", "/tmp/public")],
    "random": [("aggregation.kind", "all")],
    "blend": [("aggregation.others", "[{learner: {kind: ridge}}]")],
}
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
    """The defaults, with this kind of section where the field has several."""
    section = name.split(".", maxsplit=1)[0]
    return (
        load_config(None, [(f"{section}.kind", kind), *BESIDE.get(kind, [])])
        if kind and kind != KINDS[section]
        else DEFAULTS
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
    if name.endswith(".sha256"):
        return "0" * 64
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
    if base == DEFAULTS:
        assert load_config(None, pairs) == config  # type: ignore[arg-type]


CHOOSING = ("partition", "learner", "aggregation")


def test_every_field_is_an_option_and_is_explained() -> None:
    """Once, and with a text; what chooses a section's kind has that of each kind."""
    parser = argparse.ArgumentParser(usage="x")
    add_options(parser)
    known = [option for action in parser._actions for option in action.option_strings]
    for name, option in FIELDS.items():
        assert known.count(f"--{name}") == 1, name
        assert option.about or name in {f"{section}.kind" for section in CHOOSING}, name
    assert "--seed" not in parser.format_help()
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
    for name in ("seed", "backbone.seed"):
        assert f"--{name}" not in parser._option_string_actions


def test_options_are_above_yaml_which_is_above_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("learner: {epochs: 3, batch: 8}\nseed: 5\n")
    config = load_config(path, [("learner.epochs", "4"), ("learner.epochs", "6")])
    assert (config.learner.epochs, config.learner.batch, config.seed) == (6, 8, 5)
    assert config.learner.prompt.width == Config().learner.prompt.width, (
        "what a file leaves out is the default"
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


TYPED = {
    "data.subject_pattern": ("[^/_]+", "[a-z]", "{2}", "(?P<subject>[0-9]+)", "None", "none", "012",
        "1:30", "yes", "'quoted'", "a: b", "# no comment", "&a", "*", "!!int 1", "~", "- a", " a "),
    "data.subject_column": ("None", "none", "NULL", "[a]", "{a: 1}", "1e3", "true", "1", "[", "{"),
    "data.image_column": ("null", "None", "[1]", "0o17"),
    "data.exclude": ("[2024] holiday", "{a}", "None", "012", "[2024]", "a,b", "~/x"),
    "backbone.readout.normalize": ("none",),
    "backbone.weights": ("null", "[a].pth"),
    "execution.address": ("None", "[::1]:6379"),
    "queue.database": ("None", "[a]"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in TYPED for text in TYPED[name]])
def test_a_text_is_the_text_of_a_field_of_texts(name: str, text: str) -> None:
    found = value_at(load_config(None, [(name, text)]), name)
    assert found == (Path(text) if name == "data.exclude" else text)


@pytest.mark.parametrize("name", [name for name, option in FIELDS.items() if option.types == {str}])
@pytest.mark.parametrize("text", ["null", "None", "[a]"])
def test_null_is_a_text_where_the_type_has_no_null(name: str, text: str) -> None:
    assert value_of(name, text) == text


@pytest.mark.parametrize("name", [name for name in FIELDS if type(None) in FIELDS[name].types])
def test_null_is_no_value_where_the_type_has_it(name: str) -> None:
    assert value_of(name, "null") is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "012", 12),
        ("learner.prompt.lr", "1e-3", 0.001),
        ("learner.prompt.lr", ".5", 0.5),
        ("learner.flip", "no", False),
        ("backbone.mean", "[.5, 1e-3, 1]", (0.5, 0.001, 1.0)),
    ],
)
def test_a_number_is_read_by_its_type(name: str, text: str, value: object) -> None:
    assert value_at(load_config(None, [(name, text)]), name) == value


@pytest.mark.parametrize("text", ["1:30", "0o17", "yes", "[1]", "{1: 2}", "None", "1.5"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"seed is {text!r}")):
        load_config(None, [("seed", text)])


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
    "null where it cannot be": ([("learner.epochs", "null")], "learner.epochs is 'null'"),
    "a broken list": ([("backbone.mean", "[0.1")], "backbone.mean"),
    "a broken mapping": ([("seed", "{")], "seed"),
    "a short list": ([("backbone.mean", "[0.1, 0.2]")], "backbone.mean"),
    "infinite": ([("learner.prompt.lr", "inf")], "learner.prompt.lr"),
    "an infinite threshold": (
        [("partition.threshold", "inf"), ("partition.shards", "null")],
        "partition.threshold",
    ),
    "a threshold that JSON cannot hold": (
        [("partition.threshold", "1e18"), ("partition.shards", "null")],
        "threshold is 1e+18: numbers lie between",
    ),
    "a mean that JSON cannot hold": (
        [("backbone.mean", "[0, 0, -9007199254740992]")],
        "mean is -9007199254740992",
    ),
    "not a number at all": ([("learner.head_lr", "nan")], "learner.head_lr"),
    "a seed that JSON cannot hold": ([("seed", str(2**53))], "seed"),
    "a backbone seed that torch cannot take": ([("backbone.seed", str(2**70))], "backbone.seed"),
    "two cuts": (
        [("partition.threshold", "1"), ("partition.shards", "2")],
        "one of partition.threshold and partition.shards",
    ),
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
        ("seed: 2001-99-99", "expected a whole number"),
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
    ("wrong", "near"),
    [
        ("learnr", "learner"),
        ("learner.promt", "learner.prompt"),
        ("lerner.epochs", "learner.epochs"),
        ("epochs", "learner.epochs"),
        ("Seed", "seed"),
        ("record_id", None),
        ("data.record_id", None),
        ("top_k", None),
        ("lr", "learner.prompt.lr"),
    ],
)
def test_only_a_slip_of_the_fingers_is_guessed_at(wrong: str, near: str | None) -> None:
    assert nearest(wrong) == (f": did you mean {near}?" if near else "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data: 3", "data is 3 in {file}, expected fields below it."),
        ("backbone: {readout: 5}", "backbone.readout is 5 in {file}, expected fields below it."),
        ("seed: x", "seed is 'x' in {file}, expected a whole number."),
        ("seed: 1.5", "seed is 1.5 in {file}, expected a whole number."),
        ("seed: -1", "seed is -1 in {file}, expected 0 or more."),
        ("seed: .nan", "seed is nan in {file}, expected a finite number."),
        ("queue: {poll: 0}", "queue.poll is 0 in {file}, expected more than 0."),
        ("partition: {shards: 99999999999999999}", "expected less than 2^53."),
        ("learner: {momentum: 1}", "learner.momentum is 1 in {file}, expected less than 1."),
        ("learner: {momentum: x}", "learner.momentum is 'x' in {file}, expected a number."),
        ("learner: {flip: 7}", "learner.flip is 7 in {file}, expected true or false."),
        ("data: {path: [a]}", "data.path is ['a'] in {file}, expected a path."),
        ("data: {source: foldr}", "data.source is 'foldr' in {file}, expected 'digits', 'folder'"),
        (
            "backbone: {mean: [1, 2]}",
            "backbone.mean.2 is [1, 2] in {path}, expected one value more.",
        ),
        ("data: {1: 2}", "expected the name of a field."),
    ],
)
def test_what_was_expected_is_said_in_our_words(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, [])
    assert says.format(file=f"file {path}:1", path=path) in str(caught.value)
    for foreign in ("nput should", "valid", "pydantic", "instance", "Config ", "<class"):
        assert foreign not in str(caught.value).replace(str(path), "")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("**/*.yaml")), ids=lambda path: path.name
)
def test_every_configuration_that_is_shipped(path: Path) -> None:
    """It loads, and opens with the command that runs it."""
    load_config(path, [])
    assert path.read_text().startswith("#")
    assert "lmeraser" in path.read_text().splitlines()[0] + path.read_text().splitlines()[1]


def test_the_values_of_a_list_are_lists() -> None:
    text = "backbone.mean=[0.1,0.2,0.3],[0, 0, 0],null"
    assert parse_axis(text) == ("backbone.mean", ["[0.1,0.2,0.3]", "[0, 0, 0]", "null"])
    assert parse_axis("backbone.name=a,[b") == ("backbone.name", ["a", "[b"])


def test_the_quickstart_is_named_and_has_a_file() -> None:
    """Both say the same."""
    assert load_config(ROOT / "configs" / "quickstart.yaml", []) == load_config(
        Path("quickstart"), []
    )
